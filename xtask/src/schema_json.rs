//! Reads the message definitions inside Kafka's published jars into our schema form.
//!
//! Only structure is read: names, types, versions, tags, defaults. Upstream's prose is never kept.

use crate::schema::{Field, Kind, MessageDef, StructDef, Type, Versions, normalise};
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;

/// All message definitions in the jars, messages without any version left out.
pub fn read_jars(jars: &[impl AsRef<Path>]) -> Result<Vec<MessageDef>, String> {
    let mut messages = Vec::new();
    for jar in jars {
        let path = jar.as_ref();
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file = std::fs::File::open(path).map_err(|e| at(&e))?;
        let mut archive = zip::ZipArchive::new(file).map_err(|e| at(&e))?;
        let names: Vec<String> = archive
            .file_names()
            .filter(|n| n.starts_with("common/") && n.ends_with(".json"))
            .map(str::to_string)
            .collect();
        for name in names {
            let mut text = String::new();
            let mut entry = archive.by_name(&name).map_err(|e| at(&e))?;
            entry.read_to_string(&mut text).map_err(|e| at(&e))?;
            let message = read_message(&text).map_err(|e| at(&format!("{name}: {e}")))?;
            messages.extend(message);
        }
    }
    messages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(messages)
}

fn read_message(text: &str) -> Result<Option<MessageDef>, String> {
    let json: Value = serde_json::from_str(&strip_comments(text)).map_err(|e| e.to_string())?;
    let versions = Versions::parse(string(&json, "validVersions")?)?;
    if versions.is_empty() {
        return Ok(None);
    }
    let name = string(&json, "name")?.to_string();
    let kind = match string(&json, "type")? {
        "request" => Kind::Request,
        "response" => Kind::Response,
        "metadata" => Kind::Record,
        "header" => Kind::Header,
        "data" => Kind::Data,
        other => return Err(format!("unknown message type {other:?}")),
    };
    let key = match json.get("apiKey") {
        None => None,
        Some(key) => {
            let key = key.as_i64().and_then(|k| i16::try_from(k).ok());
            Some(key.ok_or_else(|| format!("{name}: bad apiKey"))?)
        }
    };
    let mut listeners: Vec<String> = array(&json, "listeners")
        .iter()
        .filter_map(Value::as_str)
        .filter(|l| *l != "zkBroker")
        .map(str::to_string)
        .collect();
    listeners.sort();
    let mut message = MessageDef {
        kind,
        name: name.clone(),
        key,
        listeners,
        latest_unstable: json.get("latestVersionUnstable").is_some_and(is_true),
        versions,
        flexible: Versions::parse(string(&json, "flexibleVersions")?)?,
        structs: Vec::new(),
    };
    read_struct(&mut message, &name, false, array(&json, "fields"))?;
    for shared in array(&json, "commonStructs") {
        let struct_name = string(shared, "name")?;
        read_struct(&mut message, struct_name, true, array(shared, "fields"))?;
    }
    normalise(&mut message);
    message.check()?;
    Ok(Some(message))
}

fn read_struct(
    message: &mut MessageDef,
    name: &str,
    shared: bool,
    fields: &[Value],
) -> Result<(), String> {
    let at = message.structs.len();
    message.structs.push(StructDef { name: name.to_string(), shared, fields: Vec::new() });
    for json in fields {
        let field = read_field(json).map_err(|e| format!("{name}: {e}"))?;
        if let (Some(inner), Some(_)) = (field.ty.struct_name(), json.get("fields")) {
            read_struct(message, inner, false, array(json, "fields"))?;
        }
        message.structs[at].fields.push(field);
    }
    Ok(())
}

fn read_field(json: &Value) -> Result<Field, String> {
    let name = string(json, "name")?.to_string();
    let versions = Versions::parse(string(json, "versions")?)?;
    let optional = |key: &str| json.get(key).and_then(Value::as_str);
    let tag = match json.get("tag") {
        None => None,
        Some(tag) => {
            if optional("taggedVersions") != optional("versions") {
                return Err(format!("{name}: tagged in some of its versions only"));
            }
            // Some older definitions quote the number.
            let tag = tag.as_str().map_or(tag.as_u64(), |t| t.parse().ok());
            let tag = tag.and_then(|t| u32::try_from(t).ok());
            Some(tag.ok_or_else(|| format!("{name}: bad tag"))?)
        }
    };
    let ty = read_type(string(json, "type")?)?;
    let default = match json.get("default") {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    Ok(Field {
        name,
        nullable: optional("nullableVersions").map_or(Ok(Versions::NONE), Versions::parse)?,
        default: default.and_then(|d| canonical_default(&ty, &d)),
        ty,
        versions,
        tag,
        ignorable: json.get("ignorable").is_some_and(is_true),
        flexible: optional("flexibleVersions") != Some("none"),
    })
}

/// A default without its spelling: numbers in decimal, and `None` where it is the type's own.
fn canonical_default(ty: &Type, text: &str) -> Option<String> {
    let text = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).map_or(text.to_string(), |n| n.to_string()),
        None => text.to_string(),
    };
    let own = match ty {
        Type::Bool => "false",
        Type::Str | Type::Bytes | Type::Array(_) | Type::Struct(_) | Type::Uuid => "",
        Type::Records => "null",
        _ => "0",
    };
    (text != own).then_some(text)
}

fn read_type(text: &str) -> Result<Type, String> {
    if let Some(inner) = text.strip_prefix("[]") {
        return Ok(Type::Array(Box::new(read_type(inner)?)));
    }
    Ok(match text {
        "bool" => Type::Bool,
        "int8" => Type::I8,
        "int16" => Type::I16,
        "uint16" => Type::U16,
        "int32" => Type::I32,
        "uint32" => Type::U32,
        "int64" => Type::I64,
        "float64" => Type::F64,
        "uuid" => Type::Uuid,
        "string" => Type::Str,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        other if other.starts_with(|c: char| c.is_ascii_uppercase()) => {
            Type::Struct(other.to_string())
        }
        other => return Err(format!("unknown type {other:?}")),
    })
}

fn is_true(json: &Value) -> bool {
    json.as_bool() == Some(true) || json.as_str() == Some("true")
}

fn string<'a>(json: &'a Value, key: &str) -> Result<&'a str, String> {
    json.get(key).and_then(Value::as_str).ok_or_else(|| format!("no {key}"))
}

fn array<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Upstream's files carry `//` comments, which JSON does not know.
fn strip_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (mut quoted, mut escaped, mut end) = (false, false, line.len());
        for (at, c) in line.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '/' if !quoted && line[at..].starts_with("//") => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_strings_stay() {
        let text = "{ // x\n \"a\": \"b//c\\\"//\" } // y";
        assert_eq!(strip_comments(text), "{ \n \"a\": \"b//c\\\"//\" } \n");
    }
}
