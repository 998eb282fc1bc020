//! One message: its structs with reading, writing and defaults.

use super::{errors, min_size, names};
use crate::schema::{Field, Kind, MessageDef, StructDef, Type, Versions};
use std::fmt::Write as _;

/// The module of one message.
pub fn message(m: &MessageDef) -> Result<String, String> {
    let mut out = String::from("use crate::wire::prelude::*;\n");
    for s in &m.structs {
        out.push_str(&definition(m, s));
        out.push_str(&default_impl(s)?);
        out.push_str(&codec_impl(m, s)?);
        if m.kind == Kind::Response && errors::has_errors(m, s) {
            out.push_str(&errors::errors_impl(m, s));
        }
    }
    let name = names::rust_type(&m.name);
    let _ = write!(
        out,
        "\nimpl Message for {name} {{\n    const NAME: &'static str = \"{}\";\n    const VERSIONS: RangeInclusive<i16> = {}..={};\n}}\n",
        m.name, m.versions.lo, m.versions.hi
    );
    Ok(out)
}

fn definition(m: &MessageDef, s: &StructDef) -> String {
    let mut out = String::new();
    let doc = if s.name == m.name {
        format!("`{}` versions {}.", m.name, m.versions)
    } else {
        format!("`{}` of `{}`.", s.name, m.name)
    };
    let derive_default = s.fields.iter().all(has_rust_default);
    let default = if derive_default { "Default, " } else { "" };
    let _ = write!(
        out,
        "\n/// {doc}\n#[derive(Clone, Debug, {default}PartialEq)]\npub struct {} {{\n",
        names::rust_type(&s.name)
    );
    for f in &s.fields {
        let _ = writeln!(out, "    /// {}", field_doc(m, f));
        let _ = writeln!(out, "    pub {}: {},", names::field(&f.name), rust_type(f));
    }
    out.push_str("    /// Tagged fields that this schema does not know.\n");
    out.push_str("    pub unknown_tags: UnknownTags,\n}\n");
    out
}

fn field_doc(m: &MessageDef, f: &Field) -> String {
    let mut doc = format!("`{}`", f.name);
    if f.versions.covers(m.versions) {
        doc.push_str(", all versions");
    } else {
        let _ = write!(doc, ", versions {}", f.versions);
    }
    if let Some(tag) = f.tag {
        let _ = write!(doc, ", tag {tag}");
    }
    if !f.nullable.is_empty() && f.nullable != Versions::ALL {
        let _ = write!(doc, ", null in versions {}", f.nullable);
    }
    if f.ignorable {
        doc.push_str(", ignorable");
    }
    if let Some(default) = f.default.as_ref().filter(|d| *d != "null") {
        let _ = write!(doc, ", default {default}");
    }
    doc.push('.');
    doc
}

pub fn is_optional(f: &Field) -> bool {
    !f.nullable.is_empty()
}

fn plain_type(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_string(),
        Type::I8 => "i8".to_string(),
        Type::I16 => "i16".to_string(),
        Type::U16 => "u16".to_string(),
        Type::I32 => "i32".to_string(),
        Type::U32 => "u32".to_string(),
        Type::I64 => "i64".to_string(),
        Type::F64 => "f64".to_string(),
        Type::Uuid => "Uuid".to_string(),
        Type::Str => "KStr".to_string(),
        Type::Bytes | Type::Records => "Bytes".to_string(),
        Type::Struct(name) => names::rust_type(name),
        Type::Array(inner) => format!("Vec<{}>", plain_type(inner)),
    }
}

fn rust_type(f: &Field) -> String {
    let plain = plain_type(&f.ty);
    if is_optional(f) { format!("Option<{plain}>") } else { plain }
}

/// True if Kafka's default is what `Default::default()` of the Rust type gives.
fn has_rust_default(f: &Field) -> bool {
    match &f.default {
        None => !is_optional(f) || f.ty == Type::Records,
        Some(text) => text == "null",
    }
}

fn default_expr(f: &Field) -> Result<String, String> {
    let bad = || format!("{}: cannot make a default of {:?}", f.name, f.default);
    let Some(text) = &f.default else {
        let own =
            if has_rust_default(f) { "Default::default()" } else { "Some(Default::default())" };
        return Ok(own.to_string());
    };
    let expr = match &f.ty {
        _ if text == "null" => return Ok("None".to_string()),
        Type::Bool | Type::I8 | Type::I16 | Type::U16 | Type::I32 | Type::U32 | Type::I64 => {
            text.clone()
        }
        Type::F64 => format!("{:?}", text.parse::<f64>().map_err(|_| bad())?),
        Type::Str => format!("KStr::from_static({text:?})"),
        _ => return Err(bad()),
    };
    Ok(if is_optional(f) { format!("Some({expr})") } else { expr })
}

fn default_impl(s: &StructDef) -> Result<String, String> {
    if s.fields.iter().all(has_rust_default) {
        return Ok(String::new());
    }
    let name = names::rust_type(&s.name);
    let mut out =
        format!("\nimpl Default for {name} {{\n    fn default() -> Self {{\n        Self {{\n");
    for f in &s.fields {
        let _ = writeln!(out, "            {}: {},", names::field(&f.name), default_expr(f)?);
    }
    out.push_str("            unknown_tags: UnknownTags::default(),\n        }\n    }\n}\n");
    Ok(out)
}

/// The condition that `v`, one of `all`, is in `versions`; `None` if always.
fn condition(versions: Versions, all: Versions) -> Option<String> {
    if versions.covers(all) {
        return None;
    }
    let low = versions.lo > all.lo;
    let high = versions.hi < all.hi;
    Some(match (low, high) {
        _ if versions.and(all).is_empty() => "false".to_string(),
        (true, true) if versions.lo == versions.hi => format!("v == {}", versions.lo),
        (true, true) => format!("({}..={}).contains(&v)", versions.lo, versions.hi),
        (true, false) => format!("v >= {}", versions.lo),
        (false, true) => format!("v <= {}", versions.hi),
        (false, false) => "true".to_string(),
    })
}

/// The condition that `v`, one of `all`, is not in `versions`, where `versions` leaves some of `all` out.
fn absence(versions: Versions, all: Versions) -> Option<String> {
    let low = versions.lo > all.lo;
    let high = versions.hi < all.hi;
    match (low, high) {
        _ if versions.and(all).is_empty() => None,
        (true, true) if versions.lo == versions.hi => Some(format!("v != {}", versions.lo)),
        (true, true) => Some(format!("!({}..={}).contains(&v)", versions.lo, versions.hi)),
        (true, false) => Some(format!("v < {}", versions.lo)),
        (false, true) => Some(format!("v > {}", versions.hi)),
        (false, false) => None,
    }
}

fn bool_expr(versions: Versions, all: Versions) -> String {
    condition(versions, all).unwrap_or_else(|| "true".to_string())
}

/// Whether the flexible encoding is used, as an expression for a field.
fn flex_expr(m: &MessageDef, f: &Field) -> &'static str {
    if !f.flexible || m.flexible.and(m.versions).is_empty() {
        "false"
    } else if m.flexible.covers(m.versions) || f.tag.is_some() {
        "true"
    } else {
        "flex"
    }
}

fn codec_impl(m: &MessageDef, s: &StructDef) -> Result<String, String> {
    let mut tagged: Vec<&Field> = s.fields.iter().filter(|f| f.tag.is_some()).collect();
    tagged.sort_by_key(|f| f.tag);
    let name = names::rust_type(&s.name);
    let flexible = condition(m.flexible, m.versions);
    let read = read_body(m, s, &tagged, flexible.as_deref());
    let write = write_body(m, s, &tagged, flexible.as_deref())?;
    let (min_size, min_reads_version) = min_size::min_size(m, s);
    let arg = |body: &str, name: &str| {
        let used =
            body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name);
        if used { name.to_string() } else { format!("_{name}") }
    };
    let mut out = format!("\nimpl Struct for {name} {{\n");
    let v = if min_reads_version { "v" } else { "_v" };
    let _ = write!(out, "    fn min_size({v}: i16) -> usize {{\n        {min_size}\n    }}\n\n");
    let _ = write!(
        out,
        "    fn read({}: &mut Reader, {}: i16) -> Result<Self, WireError> {{\n{read}    }}\n\n",
        arg(&read, "r"),
        arg(&read, "v")
    );
    let _ = write!(
        out,
        "    fn write(&self, {}: &mut Writer, {}: i16) -> Result<(), WireError> {{\n{write}    }}\n}}\n",
        arg(&write, "w"),
        arg(&write, "v")
    );
    Ok(out)
}

fn uses_flex(m: &MessageDef, s: &StructDef) -> bool {
    let variable =
        |ty: &Type| matches!(ty, Type::Str | Type::Bytes | Type::Records | Type::Array(_));
    s.fields.iter().any(|f| variable(&f.ty) && flex_expr(m, f) == "flex")
}

fn read_body(m: &MessageDef, s: &StructDef, tagged: &[&Field], flexible: Option<&str>) -> String {
    let mut out = String::new();
    if let Some(cond) = flexible.filter(|_| uses_flex(m, s)) {
        let _ = writeln!(out, "        let flex = {cond};");
    }
    let plain: Vec<&Field> = s.fields.iter().filter(|f| f.tag.is_none()).collect();
    let no_tags = flexible == Some("false");
    if plain.is_empty() && no_tags {
        return out + "        Ok(Self::default())\n";
    }
    out.push_str("        let mut this = Self::default();\n");
    for f in plain {
        let read = read_expr(m, f);
        let name = names::field(&f.name);
        match condition(f.versions, m.versions) {
            None => {
                let _ = writeln!(out, "        this.{name} = {read}?;");
            }
            Some(cond) if cond == "false" => {}
            Some(cond) => {
                let _ = writeln!(out, "        if {cond} {{");
                let _ = writeln!(out, "            this.{name} = {read}?;");
                out.push_str("        }\n");
            }
        }
    }
    if !no_tags {
        let (indent, close) = match flexible {
            None => ("        ", ""),
            Some(cond) => {
                let _ = writeln!(out, "        if {cond} {{");
                ("            ", "        }\n")
            }
        };
        if tagged.is_empty() {
            let _ = writeln!(out, "{indent}r.unknown_tags(&mut this.unknown_tags)?;");
        } else {
            let _ = writeln!(out, "{indent}r.tags(&mut this.unknown_tags, |r, tag| {{");
            let _ = writeln!(out, "{indent}    match tag {{");
            for f in tagged {
                let (tag, read) = (f.tag.unwrap_or_default(), read_expr(m, f));
                let name = names::field(&f.name);
                let guard = condition(f.versions, m.versions);
                let guard = guard.map_or(String::new(), |c| format!(" if {c}"));
                let _ = writeln!(out, "{indent}        {tag}{guard} => this.{name} = {read}?,");
                if !guard.is_empty() {
                    let _ = writeln!(
                        out,
                        "{indent}        {tag} => return Err(WireError::TagNotValid {{ tag, version: v }}),"
                    );
                }
            }
            let _ = writeln!(out, "{indent}        _ => return Ok(false),");
            let _ = writeln!(out, "{indent}    }}");
            let _ = writeln!(out, "{indent}    Ok(true)");
            let _ = writeln!(out, "{indent}}})?;");
        }
        out.push_str(close);
    }
    out.push_str("        Ok(this)\n");
    out
}

fn method(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::I8 => "i8",
        Type::I16 => "i16",
        Type::U16 => "u16",
        Type::I32 => "i32",
        Type::U32 => "u32",
        Type::I64 => "i64",
        Type::F64 => "f64",
        Type::Uuid => "uuid",
        Type::Str => "string",
        Type::Bytes | Type::Records => "bytes",
        Type::Struct(_) => "structure",
        Type::Array(_) => "array",
    }
}

fn read_expr(m: &MessageDef, f: &Field) -> String {
    let flex = flex_expr(m, f);
    let optional = is_optional(f);
    let opt = if optional { "opt_" } else { "" };
    let nullable = bool_expr(f.nullable, m.versions.and(f.versions));
    let null = if optional { format!(", {nullable}") } else { String::new() };
    match &f.ty {
        Type::Str | Type::Bytes | Type::Records => {
            format!("r.{opt}{}({flex}{null})", method(&f.ty))
        }
        Type::Struct(name) if optional => {
            format!("r.opt_structure::<{}>({nullable}, v)", names::rust_type(name))
        }
        Type::Struct(name) => format!("{}::read(r, v)", names::rust_type(name)),
        Type::Array(inner) => match &**inner {
            Type::Struct(_) => format!("r.{opt}structs({flex}{null}, v)"),
            Type::Str => format!("r.{opt}strings({flex}{null})"),
            ty => {
                let size = min_size::fixed_size(ty).unwrap_or(1);
                format!("r.{opt}array({flex}{null}, {size}, Reader::{})", method(ty))
            }
        },
        ty => format!("r.{}()", method(ty)),
    }
}

fn write_body(
    m: &MessageDef,
    s: &StructDef,
    tagged: &[&Field],
    flexible: Option<&str>,
) -> Result<String, String> {
    let mut out = String::new();
    if let Some(cond) = flexible.filter(|_| uses_flex(m, s)) {
        let _ = writeln!(out, "        let flex = {cond};");
    }
    for f in s.fields.iter().filter(|f| f.tag.is_none()) {
        let write = write_stmt(m, f, "");
        match condition(f.versions, m.versions) {
            None => {
                let _ = writeln!(out, "        {write}");
            }
            Some(cond) => {
                if cond != "false" {
                    let _ = writeln!(out, "        if {cond} {{\n            {write}\n        }}");
                }
                if !f.ignorable {
                    out.push_str(&unsupported(m, s, f)?);
                }
            }
        }
    }
    if flexible == Some("false") {
        out.push_str("        self.unknown_tags.must_be_empty(v)\n");
        return Ok(out);
    }
    for f in tagged.iter().filter(|f| !f.ignorable) {
        if condition(f.versions, m.versions).is_some() {
            out.push_str(&unsupported(m, s, f)?);
        }
    }
    let (indent, close) = match flexible {
        None => ("        ", String::new()),
        Some(cond) => {
            let _ = writeln!(out, "        if {cond} {{");
            let rest =
                "        } else {\n            self.unknown_tags.must_be_empty(v)\n        }\n";
            ("            ", rest.to_string())
        }
    };
    if tagged.is_empty() {
        let _ = writeln!(out, "{indent}w.unknown_tags(&self.unknown_tags)");
    } else {
        let _ = writeln!(out, "{indent}w.tags(&self.unknown_tags, |t| {{");
        for f in tagged {
            let tag = f.tag.unwrap_or_default();
            let mut cond = is_set(f)?;
            // Inside the flexible branch, a field as old as flexibility needs no version check.
            if let Some(versions) = condition(f.versions, m.versions.and(m.flexible)) {
                cond = format!("{versions} && {cond}");
            }
            let write = write_stmt(m, f, "tail");
            let _ = writeln!(out, "{indent}    if {cond} {{");
            let _ = writeln!(out, "{indent}        t.tag({tag}, |w| {write})?;");
            let _ = writeln!(out, "{indent}    }}");
        }
        let _ = writeln!(out, "{indent}    Ok(())\n{indent}}})");
    }
    out.push_str(&close);
    Ok(out)
}

fn unsupported(m: &MessageDef, s: &StructDef, f: &Field) -> Result<String, String> {
    let absent = absence(f.versions, m.versions).map_or(String::new(), |c| format!("{c} && "));
    Ok(format!(
        "        if {absent}{} {{\n            return Err(unsupported(\"{}\", \"{}\", v));\n        }}\n",
        is_set(f)?,
        s.name,
        f.name
    ))
}

/// The condition that the field differs from Kafka's default.
fn is_set(f: &Field) -> Result<String, String> {
    let name = format!("self.{}", names::field(&f.name));
    let has_null_default = f.default.as_deref() == Some("null") || f.ty == Type::Records;
    if is_optional(f) {
        return Ok(match (&f.ty, &f.default) {
            _ if has_null_default => format!("{name}.is_some()"),
            (Type::Struct(_), None) => format!("{name} != Some(Default::default())"),
            (_, None) => format!("{name}.as_ref().is_none_or(|x| !x.is_empty())"),
            _ => format!("{name} != {}", default_expr(f)?),
        });
    }
    Ok(match &f.ty {
        Type::Bool if f.default.as_deref() == Some("true") => format!("!{name}"),
        Type::Bool => name,
        Type::Str if f.default.is_some() => format!("{name} != {}", default_expr(f)?),
        Type::Str | Type::Bytes | Type::Records | Type::Array(_) => format!("!{name}.is_empty()"),
        Type::Uuid => format!("!{name}.is_zero()"),
        Type::Struct(ty) => format!("{name} != {}::default()", names::rust_type(ty)),
        _ => {
            let default = f.default.clone().unwrap_or_else(|| "0".to_string());
            let default = if f.ty == Type::F64 { format!("{default}.0") } else { default };
            format!("{name} != {default}")
        }
    })
}

/// The statement that writes the field; `tail` makes it an expression of `Result<(), WireError>`.
fn write_stmt(m: &MessageDef, f: &Field, tail: &str) -> String {
    let name = format!("self.{}", names::field(&f.name));
    let flex = flex_expr(m, f);
    let optional = is_optional(f);
    let opt = if optional { "opt_" } else { "" };
    let nullable = bool_expr(f.nullable, m.versions.and(f.versions));
    let null = if optional { format!(", {nullable}") } else { String::new() };
    let fallible = match &f.ty {
        Type::Str | Type::Bytes | Type::Records => {
            format!("w.{opt}{}(&{name}, {flex}{null})", method(&f.ty))
        }
        Type::Struct(_) if optional => format!("w.opt_structure(&{name}, {nullable}, v)"),
        Type::Struct(_) => format!("{name}.write(w, v)"),
        Type::Array(inner) => match &**inner {
            Type::Struct(_) => format!("w.{opt}structs(&{name}, {flex}{null}, v)"),
            Type::Str => format!("w.{opt}strings(&{name}, {flex}{null})"),
            ty => format!("w.{opt}array(&{name}, {flex}{null}, Writer::{})", method(ty)),
        },
        ty => {
            let call = format!("w.{}({name})", method(ty));
            return if tail.is_empty() {
                format!("{call};")
            } else {
                format!("{{ {call}; Ok(()) }}")
            };
        }
    };
    if tail.is_empty() { format!("{fallible}?;") } else { fallible }
}
