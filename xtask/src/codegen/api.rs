//! The tables over all messages: API keys, any request or response, any record, the catalogue.

use super::{errors, names};
use crate::schema::{Kind, MessageDef, PRIVATE, api_name};
use std::fmt::Write as _;

/// `ApiKey`, `AnyRequest`, `AnyResponse`.
pub fn apis(messages: &[MessageDef]) -> Result<String, String> {
    let mut requests: Vec<_> = messages.iter().filter(|m| m.kind == Kind::Request).collect();
    requests.sort_by_key(|m| m.key);
    let mut apis = Vec::new();
    for request in requests {
        let name = api_name(&request.name);
        let response_name = format!("{name}Response");
        let response = messages
            .iter()
            .find(|m| m.name == response_name)
            .ok_or_else(|| format!("{name} has no response"))?;
        if response.versions != request.versions {
            return Err(format!("{name}: versions of request and response differ"));
        }
        apis.push((name, request, response));
    }
    let mut out = String::from(
        "use crate::messages::*;\nuse crate::wire::prelude::*;\n\n\
         /// Kafka's API keys.\n\
         #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]\n\
         #[repr(i16)]\npub enum ApiKey {\n",
    );
    for (name, request, _) in &apis {
        let key = request.key.unwrap_or_default();
        let _ = writeln!(out, "    /// API {key}.\n    {name} = {key},");
    }
    out.push_str("}\n\n/// What is known of one API.\npub(crate) struct ApiInfo {\n");
    out.push_str("    pub key: ApiKey,\n    pub name: &'static str,\n    pub min: i16,\n");
    out.push_str(
        "    /// Newest version that is not marked unstable upstream.\n    pub max: i16,\n",
    );
    out.push_str("    /// First version with the flexible encoding.\n");
    out.push_str(
        "    pub flexible_from: i16,\n    pub controller: bool,\n    pub broker: bool,\n}\n\n",
    );
    out.push_str("/// Sorted by key.\npub(crate) static APIS: &[ApiInfo] = &[\n");
    for (name, request, _) in &apis {
        let max = request.versions.hi - i16::from(request.latest_unstable);
        let flexible = if request.flexible.is_empty() { i16::MAX } else { request.flexible.lo };
        let on = |listener: &str| request.listeners.iter().any(|l| l == listener);
        let _ = writeln!(
            out,
            "    ApiInfo {{ key: ApiKey::{name}, name: \"{name}\", min: {}, max: {max}, flexible_from: {}, controller: {}, broker: {} }},",
            request.versions.lo,
            if flexible == i16::MAX { "i16::MAX".to_string() } else { flexible.to_string() },
            on("controller") || on(PRIVATE),
            on("broker")
        );
    }
    out.push_str("];\n\n/// What a controller advertises: API, oldest and newest version, by ascending key.\n");
    out.push_str("pub(crate) static CONTROLLER_LISTENER_APIS: &[(ApiKey, i16, i16)] = &[\n");
    for (name, request, _) in &apis {
        if request.listeners.iter().any(|l| l == "controller") {
            let max = request.versions.hi - i16::from(request.latest_unstable);
            let _ = writeln!(out, "    (ApiKey::{name}, {}, {max}),", request.versions.lo);
        }
    }
    out.push_str("];\n");
    for (side, doc) in [("Request", "request"), ("Response", "response")] {
        let _ = write!(
            out,
            "\n/// A {doc} of any API.\n#[allow(clippy::large_enum_variant)]\n#[derive(Clone, Debug, PartialEq)]\npub enum Any{side} {{\n"
        );
        for (name, _, _) in &apis {
            let _ = writeln!(out, "    /// `{name}{side}`.\n    {name}({name}{side}),");
        }
        let _ = write!(out, "}}\n\nimpl Any{side} {{\n");
        let _ = write!(
            out,
            "    /// Decodes the body of a {doc}, which must take all of `body`.\n    pub fn decode(api: ApiKey, version: i16, body: Bytes) -> Result<Self, WireError> {{\n        Ok(match api {{\n"
        );
        for (name, _, _) in &apis {
            let _ = writeln!(
                out,
                "            ApiKey::{name} => Self::{name}(decode_exact(body, version)?),"
            );
        }
        out.push_str("        })\n    }\n\n    /// The API this belongs to.\n");
        out.push_str("    pub fn api_key(&self) -> ApiKey {\n        match self {\n");
        for (name, _, _) in &apis {
            let _ = writeln!(out, "            Self::{name}(_) => ApiKey::{name},");
        }
        out.push_str("        }\n    }\n\n    /// Writes the body at `version`.\n");
        out.push_str(
            "    pub fn write(&self, w: &mut Writer, version: i16) -> Result<(), WireError> {\n        match self {\n",
        );
        for (name, _, _) in &apis {
            let _ = writeln!(out, "            Self::{name}(x) => x.encode(w, version),");
        }
        out.push_str("        }\n    }\n\n    /// The body's bytes at `version`.\n");
        out.push_str(
            "    pub fn encode(&self, version: i16) -> Result<Bytes, WireError> {\n        let mut w = Writer::new();\n        self.write(&mut w, version)?;\n        Ok(w.into_bytes())\n    }\n",
        );
        if side == "Response" {
            out.push_str("\n    /// Every error code anywhere inside, zeros included.\n");
            out.push_str("    pub fn error_codes(&self) -> Vec<i16> {\n        let mut out = Vec::new();\n        match self {\n");
            for (name, _, response) in &apis {
                if errors::response_has_errors(response) {
                    let _ =
                        writeln!(out, "            Self::{name}(x) => x.error_codes(&mut out),");
                }
            }
            if !apis.iter().all(|(_, _, response)| errors::response_has_errors(response)) {
                out.push_str("            _ => {}\n");
            }
            out.push_str("        }\n        out\n    }\n");
        }
        out.push_str("}\n");
        for (name, _, _) in &apis {
            let _ = write!(
                out,
                "\nimpl From<{name}{side}> for Any{side} {{\n    fn from(x: {name}{side}) -> Self {{\n        Self::{name}(x)\n    }}\n}}\n"
            );
        }
    }
    Ok(out)
}

/// `MetadataRecord`.
pub fn records(messages: &[MessageDef]) -> Result<String, String> {
    let mut records: Vec<_> = messages.iter().filter(|m| m.kind == Kind::Record).collect();
    records.sort_by_key(|m| m.key);
    let short = |m: &MessageDef| m.name.strip_suffix("Record").unwrap_or(&m.name).to_string();
    let mut out = String::from(
        "use crate::records::*;\nuse crate::wire::prelude::*;\n\n\
         /// A record of the metadata log.\n\
         #[allow(clippy::large_enum_variant)]\n\
         #[derive(Clone, Debug, PartialEq)]\npub enum MetadataRecord {\n",
    );
    for m in &records {
        let _ = writeln!(
            out,
            "    /// `{}`, key {}.\n    {}({}),",
            m.name,
            m.key.unwrap_or_default(),
            short(m),
            m.name
        );
    }
    out.push_str("}\n\nimpl MetadataRecord {\n    /// Kafka's key of the record type.\n");
    out.push_str("    pub fn key(&self) -> u32 {\n        match self {\n");
    for m in &records {
        let _ =
            writeln!(out, "            Self::{}(_) => {},", short(m), m.key.unwrap_or_default());
    }
    out.push_str("        }\n    }\n\n    /// Kafka's name of the record type.\n");
    out.push_str("    pub fn name(&self) -> &'static str {\n        match self {\n");
    for m in &records {
        let _ = writeln!(out, "            Self::{}(_) => \"{}\",", short(m), m.name);
    }
    out.push_str("        }\n    }\n\n    /// The versions in which this record type exists.\n");
    out.push_str("    pub fn versions(&self) -> RangeInclusive<i16> {\n        match self {\n");
    for m in &records {
        let _ = writeln!(out, "            Self::{}(_) => {}::VERSIONS,", short(m), m.name);
    }
    out.push_str("        }\n    }\n\n    pub(crate) fn read_body(key: u32, r: &mut Reader, version: i16) -> Result<Self, WireError> {\n        Ok(match key {\n");
    for m in &records {
        let _ = writeln!(
            out,
            "            {} => Self::{}(Message::decode(r, version)?),",
            m.key.unwrap_or_default(),
            short(m)
        );
    }
    out.push_str("            _ => return Err(WireError::UnknownRecord(key)),\n        })\n    }\n\n    pub(crate) fn write_body(&self, w: &mut Writer, version: i16) -> Result<(), WireError> {\n        match self {\n");
    for m in &records {
        let _ = writeln!(out, "            Self::{}(x) => x.encode(w, version),", short(m));
    }
    out.push_str("        }\n    }\n}\n");
    for m in &records {
        let (short, name) = (short(m), &m.name);
        let _ = write!(
            out,
            "\nimpl From<{name}> for MetadataRecord {{\n    fn from(x: {name}) -> Self {{\n        Self::{short}(x)\n    }}\n}}\n"
        );
    }
    Ok(out)
}

/// Every message with a way to decode and encode it by name.
pub fn catalogue(messages: &[MessageDef]) -> String {
    let mut out = String::from(
        "use crate::catalogue::{MessageInfo, info};\nuse crate::messages::*;\nuse crate::records::*;\n\n",
    );
    out.push_str("/// Sorted by name.\npub static MESSAGES: &[MessageInfo] = &[\n");
    for m in messages {
        let _ = writeln!(out, "    info::<{}>(),", names::rust_type(&m.name));
    }
    out.push_str("];\n");
    out
}
