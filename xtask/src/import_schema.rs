//! `cargo xtask import-schema`: drafts `.kw` files from Kafka's jars, for a human to review.

use crate::schema::{Kind, MessageDef, api_name, parse, print};
use crate::schema_json::read_jars;
use crate::verify_schema::schema_jars;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rewrites `crates/protocol/schema` from the definitions of a Kafka release.
pub fn import_schema(release: &str) -> Result<(), String> {
    let mut files: BTreeMap<PathBuf, Vec<MessageDef>> = BTreeMap::new();
    for message in read_jars(&schema_jars(release)?)? {
        files.entry(file_of(&message)).or_default().push(message);
    }
    let dir = crate::workspace_root().join("crates/protocol/schema");
    for (path, messages) in files {
        let text = print(&messages);
        let again = parse(&path.display().to_string(), &text)?;
        let same = again.iter().zip(&messages).all(|(a, b)| {
            a.structs.len() == b.structs.len() && a.structs.iter().all(|s| b.structs.contains(s))
        });
        if !same {
            return Err(format!("{}: what was printed reads back differently", path.display()));
        }
        let full = dir.join(&path);
        let parent = full.parent().unwrap_or(&dir).to_path_buf();
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&full, text))
            .map_err(|e| format!("{}: {e}", full.display()))?;
    }
    Ok(())
}

fn file_of(message: &MessageDef) -> PathBuf {
    let (folder, name) = match message.kind {
        Kind::Request | Kind::Response => ("rpc", api_name(&message.name)),
        Kind::Record => ("record", message.name.as_str()),
        Kind::Header => ("header", message.name.as_str()),
        Kind::Data => ("data", message.name.as_str()),
    };
    Path::new(folder).join(format!("{name}.kw"))
}
