//! Prints the table of settings as a page of documentation.

use super::table::{Fallback, Group, Kind, SETTINGS};
use std::fmt::Write;

/// `docs/reference/configuration.md`, whole.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         A Quorate controller reads Kafka's `server.properties`. This page is printed from the table that the\n\
         program parses with; do not edit it by hand. Settings of Kafka that are not named here are accepted and do nothing\n\
         on a controller; names that neither knows are reported once at the start. A wrong value stops the start\n\
         with exit code 2, its place in the file, and what would be right.\n",
    );
    let mut group: Option<Group> = None;
    for setting in SETTINGS {
        if group != Some(setting.group) {
            group = Some(setting.group);
            let _ = write!(
                page,
                "\n## {}\n\n| setting | allowed | default | meaning |\n|---|---|---|---|\n",
                setting.group.title()
            );
        }
        let default = match setting.default {
            Fallback::Required => "(required)".to_owned(),
            Fallback::Unset => "(unset)".to_owned(),
            Fallback::Value("") => "(empty)".to_owned(),
            Fallback::Value(value) => format!("`{value}`"),
        };
        let allowed = match setting.kind {
            Kind::Integer { min: i64::MIN, .. } => "a whole number".to_owned(),
            kind => kind.to_string(),
        };
        let _ = writeln!(page, "| `{}` | {allowed} | {default} | {} |", setting.name, setting.doc);
    }
    page
}
