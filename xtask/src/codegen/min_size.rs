//! The fewest bytes a struct takes on the wire: what bounds the length of an array before it is read.

use super::structs::is_optional;
use crate::schema::{MessageDef, StructDef, Type};
use std::fmt::Write as _;

/// The expression of the fewest bytes the struct can take, and whether it reads the version.
pub fn min_size(m: &MessageDef, s: &StructDef) -> (String, bool) {
    let mut runs: Vec<(i16, usize)> = Vec::new();
    for v in m.versions.iter() {
        let size = min_size_at(m, s, v);
        if runs.last().is_none_or(|(_, last)| *last != size) {
            runs.push((v, size));
        }
    }
    let Some(((_, last), _)) = runs.split_last() else {
        return ("1".to_string(), false);
    };
    if runs.len() == 1 {
        return (last.to_string(), false);
    }
    let mut out = String::from("match v {\n");
    for (i, pair) in runs.windows(2).enumerate() {
        let [(from, size), (next, _)] = pair else {
            continue;
        };
        let range = match next - 1 {
            to if i == 0 => format!("..={to}"),
            to if to == *from => to.to_string(),
            to => format!("{from}..={to}"),
        };
        let _ = writeln!(out, "            {range} => {size},");
    }
    let _ = write!(out, "            _ => {last},\n        }}");
    (out, true)
}

fn min_size_at(m: &MessageDef, s: &StructDef, v: i16) -> usize {
    let flex = m.flexible.contains(v);
    let fields = s.fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(v));
    let sizes = fields.map(|f| {
        let flex = flex && f.flexible;
        match &f.ty {
            Type::Str => {
                if flex {
                    1
                } else {
                    2
                }
            }
            Type::Bytes | Type::Records | Type::Array(_) => {
                if flex {
                    1
                } else {
                    4
                }
            }
            Type::Struct(_) if is_optional(f) => 1,
            Type::Struct(name) => m.find(name).map_or(0, |s| min_size_at(m, s, v)),
            ty => fixed_size(ty).unwrap_or(0),
        }
    });
    sizes.sum::<usize>() + usize::from(flex)
}

/// Bytes of a value whose size does not vary.
pub fn fixed_size(ty: &Type) -> Option<usize> {
    Some(match ty {
        Type::Bool | Type::I8 => 1,
        Type::I16 | Type::U16 => 2,
        Type::I32 | Type::U32 => 4,
        Type::I64 | Type::F64 => 8,
        Type::Uuid => 16,
        _ => return None,
    })
}
