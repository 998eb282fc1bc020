//! The error codes inside responses.

use super::names;
use super::structs::is_optional;
use crate::schema::{Field, MessageDef, StructDef, Type};
use std::fmt::Write as _;

/// Every error code of Kafka's is an int16 whose name ends so.
fn is_error_field(f: &Field) -> bool {
    f.ty == Type::I16 && f.name.ends_with("ErrorCode")
}

/// Whether the struct has an error code at any depth.
pub fn has_errors(m: &MessageDef, s: &StructDef) -> bool {
    s.fields.iter().any(|f| {
        let inner = f.ty.struct_name().and_then(|n| m.find(n));
        is_error_field(f) || inner.is_some_and(|s| has_errors(m, s))
    })
}

/// The struct's `ErrorCodes`.
pub fn errors_impl(m: &MessageDef, s: &StructDef) -> String {
    let mut out = format!(
        "\nimpl ErrorCodes for {} {{\n    fn error_codes(&self, out: &mut Vec<i16>) {{\n",
        names::rust_type(&s.name)
    );
    for f in &s.fields {
        let name = names::field(&f.name);
        let inner = f.ty.struct_name().and_then(|n| m.find(n));
        if is_error_field(f) {
            let _ = writeln!(out, "        out.push(self.{name});");
        } else if inner.is_some_and(|s| has_errors(m, s)) {
            let items = match (&f.ty, is_optional(f)) {
                (Type::Array(_), true) => format!("self.{name}.iter().flatten()"),
                (Type::Array(_), false) | (_, true) => format!("&self.{name}"),
                _ => {
                    let _ = writeln!(out, "        self.{name}.error_codes(out);");
                    continue;
                }
            };
            let _ = writeln!(out, "        for x in {items} {{");
            let _ = writeln!(out, "            x.error_codes(out);\n        }}");
        }
    }
    out.push_str("    }\n}\n");
    out
}

/// Whether the response has any error code to report.
pub fn response_has_errors(m: &MessageDef) -> bool {
    has_errors(m, m.top())
}
