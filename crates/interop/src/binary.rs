use crate::{Failure, Outcome};
use std::path::{Path, PathBuf};

/// The `quorate` binary under test: `$QUORATE_BIN`, else the release build, else the debug build.
pub fn quorate_binary() -> Outcome<PathBuf> {
    if let Some(given) = std::env::var_os("QUORATE_BIN") {
        let path = PathBuf::from(given);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Failure(format!("QUORATE_BIN={} is no file", path.display())))
        };
    }
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => workspace_root().join("target"),
    };
    ["release", "debug"]
        .map(|profile| target.join(profile).join("quorate"))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure(format!(
                "no quorate binary under {}: run `cargo build --release` first, or let \
                 `cargo xtask test` do it, or set QUORATE_BIN",
                target.display()
            ))
        })
}

/// The root of the workspace this harness was built in.
pub(crate) fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
