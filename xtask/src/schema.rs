//! The message schema: its in-memory form, and the reader and printer of our notation (`.kw` files).
//!
//! One file per API, record or data message:
//!
//! ```text
//! rpc 63 BrokerHeartbeat on controller
//! request 0-2 flex 0+
//!   BrokerId i32
//!   BrokerEpoch i64 = -1
//!   OfflineLogDirs [uuid] 1+ tag 0
//!   CordonedLogDirs [uuid]? 2+ tag 1 = null
//! response 0-2 flex 0+
//!   ErrorCode i16
//!   Nodes [Node]
//!     NodeId i32
//! struct Shared
//!   Id i32
//! ```
//!
//! A field is `Name type[?[versions]] [versions] [tag N] [noflex] [ignorable] [= default]`. `?` means nullable (in the
//! given versions, else in all of the field's). No versions means all of the message's. Deeper lines are the
//! fields of the struct that the line above them introduces; a `struct` block is shared by several fields.

use std::fmt::{self, Write as _};

/// An inclusive range of versions; `hi == i16::MAX` is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    pub lo: i16,
    pub hi: i16,
}

impl Versions {
    pub const ALL: Versions = Versions { lo: 0, hi: i16::MAX };
    pub const NONE: Versions = Versions { lo: 0, hi: -1 };

    /// Parses `3`, `3-5`, `3+` and `none`.
    pub fn parse(text: &str) -> Result<Versions, String> {
        let number = |t: &str| t.parse::<i16>().map_err(|_| format!("bad versions {text:?}"));
        if text == "none" {
            return Ok(Versions::NONE);
        }
        if let Some(lo) = text.strip_suffix('+') {
            return Ok(Versions { lo: number(lo)?, hi: i16::MAX });
        }
        match text.split_once('-') {
            Some((lo, hi)) => Ok(Versions { lo: number(lo)?, hi: number(hi)? }),
            None => number(text).map(|v| Versions { lo: v, hi: v }),
        }
    }

    pub fn contains(self, version: i16) -> bool {
        self.lo <= version && version <= self.hi
    }

    pub fn is_empty(self) -> bool {
        self.hi < self.lo
    }

    pub fn and(self, other: Versions) -> Versions {
        Versions { lo: self.lo.max(other.lo), hi: self.hi.min(other.hi) }
    }

    /// True if every version of `other` is in here.
    pub fn covers(self, other: Versions) -> bool {
        other.is_empty() || (self.lo <= other.lo && other.hi <= self.hi)
    }

    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.lo..=self.hi
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            v if v.is_empty() => f.write_str("none"),
            Versions { lo, hi: i16::MAX } => write!(f, "{lo}+"),
            Versions { lo, hi } if lo == hi => write!(f, "{lo}"),
            Versions { lo, hi } => write!(f, "{lo}-{hi}"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Type {
    Bool,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F64,
    Uuid,
    Str,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

const PRIMITIVES: &[(&str, Type)] = &[
    ("bool", Type::Bool),
    ("i8", Type::I8),
    ("i16", Type::I16),
    ("u16", Type::U16),
    ("i32", Type::I32),
    ("u32", Type::U32),
    ("i64", Type::I64),
    ("f64", Type::F64),
    ("uuid", Type::Uuid),
    ("string", Type::Str),
    ("bytes", Type::Bytes),
    ("records", Type::Records),
];

impl Type {
    fn parse(text: &str) -> Result<Type, String> {
        if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            return Ok(Type::Array(Box::new(Type::parse(inner)?)));
        }
        if let Some((_, ty)) = PRIMITIVES.iter().find(|(name, _)| *name == text) {
            return Ok(ty.clone());
        }
        match text.chars().next() {
            Some(c) if c.is_ascii_uppercase() => Ok(Type::Struct(text.to_string())),
            _ => Err(format!("unknown type {text:?}")),
        }
    }

    /// The struct this type is or is an array of.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(inner) => inner.struct_name(),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Struct(name) => f.write_str(name),
            Type::Array(inner) => write!(f, "[{inner}]"),
            other => {
                let known = PRIMITIVES.iter().find(|(_, ty)| ty == other);
                f.write_str(known.map_or("?", |(name, _)| name))
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    /// Kafka's default as written, where it is not the type's own.
    pub default: Option<String>,
    pub ignorable: bool,
    /// False for the one field of Kafka that keeps the old encoding in flexible versions.
    pub flexible: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StructDef {
    pub name: String,
    /// Used by several fields, hence written as a block of its own.
    pub shared: bool,
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Request,
    Response,
    Record,
    Header,
    Data,
}

/// The listener that Kafka does not have: APIs of ours, served by controllers and not advertised.
pub const PRIVATE: &str = "quorate";

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageDef {
    pub kind: Kind,
    /// Kafka's name, with `Request`, `Response` or `Record`.
    pub name: String,
    /// API key or record key.
    pub key: Option<i16>,
    pub listeners: Vec<String>,
    pub latest_unstable: bool,
    pub versions: Versions,
    pub flexible: Versions,
    /// The first is the message itself.
    pub structs: Vec<StructDef>,
}

impl MessageDef {
    pub fn find(&self, name: &str) -> Option<&StructDef> {
        self.structs.iter().find(|s| s.name == name)
    }

    pub fn top(&self) -> &StructDef {
        &self.structs[0]
    }

    /// Every struct name must resolve, and no struct may contain itself.
    pub fn check(&self) -> Result<(), String> {
        fn visit(m: &MessageDef, s: &StructDef, path: &mut Vec<String>) -> Result<(), String> {
            if path.contains(&s.name) {
                return Err(format!("{}: struct {} contains itself", m.name, s.name));
            }
            path.push(s.name.clone());
            for field in &s.fields {
                if let Some(name) = field.ty.struct_name() {
                    let inner = m
                        .find(name)
                        .ok_or_else(|| format!("{}: struct {name} is not defined", m.name))?;
                    visit(m, inner, path)?;
                }
                if field.tag.is_some() && !m.flexible.covers(field.versions.and(m.versions)) {
                    return Err(format!("{}.{}: tagged below flexible", m.name, field.name));
                }
            }
            path.pop();
            Ok(())
        }
        let mut names: Vec<_> = self.structs.iter().map(|s| &s.name).collect();
        names.sort();
        names.dedup();
        if names.len() != self.structs.len() {
            return Err(format!("{}: two structs of the same name", self.name));
        }
        visit(self, self.top(), &mut Vec::new())
    }
}

/// Brings version ranges to the shortest form that means the same within the message's versions.
pub fn normalise(message: &mut MessageDef) {
    let all = message.versions;
    for s in &mut message.structs {
        for f in &mut s.fields {
            let present = f.versions.and(all);
            if f.versions.covers(all) {
                f.versions = Versions::ALL;
            }
            if !f.nullable.is_empty() && f.nullable.covers(present) {
                f.nullable = Versions::ALL;
            }
        }
    }
}

/// Prints the messages of one file: an API's request and response, or one record or data message.
pub fn print(messages: &[MessageDef]) -> String {
    let mut out = String::new();
    let first = &messages[0];
    let key = first.key.unwrap_or_default();
    match first.kind {
        Kind::Request | Kind::Response => {
            let name = api_name(&first.name);
            let listeners = if first.listeners.is_empty() {
                String::new()
            } else {
                format!(" on {}", first.listeners.join(","))
            };
            let _ = writeln!(out, "rpc {key} {name}{listeners}");
        }
        Kind::Record => {
            let name = first.name.strip_suffix("Record").unwrap_or(&first.name);
            let _ = write!(out, "record {key} {name}");
        }
        Kind::Header => {
            let _ = write!(out, "header {}", first.name);
        }
        Kind::Data => {
            let _ = write!(out, "data {}", first.name);
        }
    }
    for m in messages {
        match m.kind {
            Kind::Request => out.push_str("request"),
            Kind::Response => out.push_str("response"),
            _ => {}
        }
        let unstable = if m.latest_unstable { " unstable" } else { "" };
        let _ = writeln!(out, " {} flex {}{unstable}", m.versions, m.flexible);
        print_fields(m, m.top(), 1, &mut out);
        for s in m.structs.iter().filter(|s| s.shared) {
            let _ = writeln!(out, "struct {}", s.name);
            print_fields(m, s, 1, &mut out);
        }
    }
    out
}

fn print_fields(m: &MessageDef, s: &StructDef, depth: usize, out: &mut String) {
    for f in &s.fields {
        let _ = write!(out, "{:width$}{} {}", "", f.name, f.ty, width = depth * 2);
        if f.nullable == Versions::ALL {
            out.push('?');
        } else if !f.nullable.is_empty() {
            let _ = write!(out, "?{}", f.nullable);
        }
        if f.versions != Versions::ALL {
            let _ = write!(out, " {}", f.versions);
        }
        if let Some(tag) = f.tag {
            let _ = write!(out, " tag {tag}");
        }
        if !f.flexible {
            out.push_str(" noflex");
        }
        if f.ignorable {
            out.push_str(" ignorable");
        }
        if let Some(default) = &f.default {
            let _ = write!(out, " = {default}");
        }
        out.push('\n');
        if let Some(inner) = f.ty.struct_name().and_then(|n| m.find(n)).filter(|s| !s.shared) {
            print_fields(m, inner, depth + 1, out);
        }
    }
}

/// `CreateTopicsRequest` and `CreateTopicsResponse` belong to the API `CreateTopics`.
pub fn api_name(message: &str) -> &str {
    message.strip_suffix("Request").or(message.strip_suffix("Response")).unwrap_or(message)
}

/// Parses one `.kw` file.
pub fn parse(file: &str, text: &str) -> Result<Vec<MessageDef>, String> {
    let mut parser = Parser { rpc: None, messages: Vec::new(), stack: Vec::new() };
    for (index, line) in text.lines().enumerate() {
        parser.line(line).map_err(|e| format!("{file}:{}: {e}", index + 1))?;
    }
    for message in &parser.messages {
        message.check().map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(parser.messages)
}

struct Parser {
    rpc: Option<(i16, String, Vec<String>)>,
    messages: Vec<MessageDef>,
    /// Struct index by depth of indentation, within the last message.
    stack: Vec<usize>,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let line = line.split('#').next().unwrap_or_default().trim_end();
        if line.is_empty() {
            return Ok(());
        }
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        if indent > 0 {
            return self.field(indent, &words);
        }
        let key = |t: &str| t.parse::<i16>().map_err(|_| format!("bad key {t:?}"));
        match words.as_slice() {
            ["rpc", id, name, rest @ ..] => {
                let listeners = match rest {
                    [] => Vec::new(),
                    ["on", list] => list.split(',').map(str::to_string).collect(),
                    _ => return Err("expected: rpc KEY NAME [on LISTENERS]".to_string()),
                };
                self.rpc = Some((key(id)?, name.to_string(), listeners));
                Ok(())
            }
            ["request", rest @ ..] => self.rpc_message(Kind::Request, "Request", rest),
            ["response", rest @ ..] => self.rpc_message(Kind::Response, "Response", rest),
            ["record", id, name, rest @ ..] => {
                self.message(Kind::Record, format!("{name}Record"), Some(key(id)?), rest)
            }
            ["header", name, rest @ ..] => self.message(Kind::Header, name.to_string(), None, rest),
            ["data", name, rest @ ..] => self.message(Kind::Data, name.to_string(), None, rest),
            ["struct", name] => {
                let message = self.messages.last_mut().ok_or("struct before any message")?;
                let at = struct_index(message, name);
                message.structs[at].shared = true;
                self.stack = vec![at];
                Ok(())
            }
            _ => Err(format!("cannot read {line:?}")),
        }
    }

    fn rpc_message(&mut self, kind: Kind, suffix: &str, rest: &[&str]) -> Result<(), String> {
        let (key, name, listeners) = self.rpc.clone().ok_or("no rpc line before this")?;
        self.message(kind, format!("{name}{suffix}"), Some(key), rest)?;
        if let Some(message) = self.messages.last_mut().filter(|_| kind == Kind::Request) {
            message.listeners = listeners;
        }
        Ok(())
    }

    fn message(
        &mut self,
        kind: Kind,
        name: String,
        key: Option<i16>,
        rest: &[&str],
    ) -> Result<(), String> {
        let (versions, flexible, latest_unstable) = match rest {
            [versions, "flex", flex] => (versions, flex, false),
            [versions, "flex", flex, "unstable"] => (versions, flex, true),
            _ => return Err("expected: VERSIONS flex VERSIONS [unstable]".to_string()),
        };
        let top = StructDef { name: name.clone(), shared: false, fields: Vec::new() };
        self.messages.push(MessageDef {
            kind,
            name,
            key,
            listeners: Vec::new(),
            latest_unstable,
            versions: Versions::parse(versions)?,
            flexible: Versions::parse(flexible)?,
            structs: vec![top],
        });
        self.stack = vec![0];
        Ok(())
    }

    fn field(&mut self, indent: usize, words: &[&str]) -> Result<(), String> {
        let depth = indent / 2;
        let message = self.messages.last_mut().ok_or("field before any message")?;
        if !indent.is_multiple_of(2) || depth > self.stack.len() {
            return Err("bad indentation".to_string());
        }
        self.stack.truncate(depth);
        let owner = *self.stack.last().ok_or("bad indentation")?;
        let field = parse_field(words)?;
        if let Some(name) = field.ty.struct_name() {
            // The fields follow on deeper lines, or in a struct block.
            let at = struct_index(message, name);
            self.stack.push(at);
        }
        message.structs[owner].fields.push(field);
        Ok(())
    }
}

/// Where the struct stands among the message's, made empty if it is new.
fn struct_index(message: &mut MessageDef, name: &str) -> usize {
    message.structs.iter().position(|s| s.name == name).unwrap_or_else(|| {
        let (name, fields) = (name.to_string(), Vec::new());
        message.structs.push(StructDef { name, shared: false, fields });
        message.structs.len() - 1
    })
}

fn parse_field(words: &[&str]) -> Result<Field, String> {
    let [name, ty, rest @ ..] = words else {
        return Err("expected: NAME TYPE".to_string());
    };
    let (ty, nullable) = match ty.split_once('?') {
        None => (*ty, Versions::NONE),
        Some((ty, "")) => (ty, Versions::ALL),
        Some((ty, versions)) => (ty, Versions::parse(versions)?),
    };
    let mut field = Field {
        name: name.to_string(),
        ty: Type::parse(ty)?,
        versions: Versions::ALL,
        nullable,
        tag: None,
        default: None,
        ignorable: false,
        flexible: true,
    };
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match *word {
            "tag" => {
                let tag = words.next().and_then(|t| t.parse().ok()).ok_or("bad tag")?;
                field.tag = Some(tag);
            }
            "noflex" => field.flexible = false,
            "ignorable" => field.ignorable = true,
            "=" => field.default = Some(words.next().ok_or("no default after =")?.to_string()),
            versions => field.versions = Versions::parse(versions)?,
        }
    }
    Ok(field)
}
