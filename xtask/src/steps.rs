//! Running cargo and other commands, with their output as it comes.
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

/// The cargo that runs us, in the workspace.
pub fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(crate::workspace_root());
    command
}

/// Runs a command in the foreground; anything but success is an error that shows its line.
pub fn run(mut command: Command) -> Result<(), String> {
    let line = line(&command);
    let status = command.status().map_err(|e| format!("cannot start `{line}`: {e}"))?;
    if status.success() { Ok(()) } else { Err(failed(&line, status)) }
}

/// Runs a command and takes its standard output.
pub fn output(mut command: Command) -> Result<String, String> {
    let line = line(&command);
    let output = command.output().map_err(|e| format!("cannot start `{line}`: {e}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}\n{stderr}", failed(&line, output.status)));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("`{line}` printed no text: {e}"))
}

/// What `cargo metadata` says of the workspace, without the dependencies' own dependencies.
pub fn metadata() -> Result<serde_json::Value, String> {
    let text = output(cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&text).map_err(|e| format!("cargo metadata printed no JSON: {e}"))
}

/// Where cargo puts what it builds.
pub fn target_directory() -> Result<PathBuf, String> {
    let metadata = metadata()?;
    let dir = metadata["target_directory"].as_str();
    dir.map(PathBuf::from).ok_or_else(|| "cargo metadata names no target directory".to_owned())
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

fn failed(line: &str, status: ExitStatus) -> String {
    format!("`{line}` ended with {status}")
}
