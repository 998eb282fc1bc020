//! Runs the commands of pages of `docs/guide/` as they stand there: what a reader types works.

use crate::binary::workspace_root;
use crate::{Failure, KafkaVersion, Outcome, Process, Tool, WorkDir, ensure, quorate_binary};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// For all commands of all pages: some start a dozen JVMs.
const ALL_COMMANDS: Duration = Duration::from_secs(600);
const HEAP_MIB: u32 = 256;
/// Kafka's scripts that the pages call, and what stands behind them.
const SERVER: (&str, &str) = ("kafka-server-start.sh", "kafka.Kafka");
const TOOLS: [(&str, Tool); 10] = [
    ("kafka-storage.sh", Tool::Storage),
    ("kafka-topics.sh", Tool::Topics),
    ("kafka-acls.sh", Tool::Acls),
    ("kafka-configs.sh", Tool::Configs),
    ("kafka-console-producer.sh", Tool::ConsoleProducer),
    ("kafka-console-consumer.sh", Tool::ConsoleConsumer),
    ("kafka-features.sh", Tool::Features),
    ("kafka-metadata-quorum.sh", Tool::MetadataQuorum),
    ("kafka-leader-election.sh", Tool::LeaderElection),
    ("kafka-reassign-partitions.sh", Tool::ReassignPartitions),
];

/// Runs the blocks marked `sh` of the pages, one after the other in one shell, in an empty folder, in a
/// network of their own; everything that they start ends with them. What was printed.
pub fn run_guide(name: &str, pages: &[&str], kafka: KafkaVersion) -> Outcome<String> {
    let mut work = WorkDir::new(name)?;
    let (bin, folder) = (work.path().join("bin"), work.path().join("folder"));
    for dir in [&bin, &folder] {
        fs::create_dir_all(dir).map_err(|e| Failure(format!("{}: {e}", dir.display())))?;
    }
    write_programs(&bin, kafka)?;
    let mut script = String::from("set -euo pipefail\nip link set lo up\n");
    for page in pages {
        let path = workspace_root().join("docs/guide").join(page);
        let text = fs::read_to_string(&path)
            .map_err(|e| Failure(format!("cannot read {}: {e}", path.display())))?;
        let blocks = shell_blocks(&text);
        ensure!(!blocks.is_empty(), "no commands in {page}");
        for (line, block) in blocks {
            script.push_str(&format!("echo '== {page}, line {line}'\n{block}"));
        }
    }
    script.push_str("echo '== the end'\n");
    let file = work.path().join("commands.sh");
    write(&file, &script, 0o644)?;

    let mut command = Command::new("unshare");
    // Whoever is root in there may set up a network of his own.
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["--net", "--pid", "--fork", "--kill-child", "bash"])
        .arg(&file)
        .current_dir(&folder)
        .env("PATH", path_with(&bin));
    let log = work.path().join("output");
    let mut shell = Process::spawn(name, &mut command, &log)?;
    let status = shell.wait_exit(ALL_COMMANDS)?;
    let printed = fs::read_to_string(&log).unwrap_or_default();
    if !status.success() || !printed.contains("== the end") {
        let at = printed.lines().rfind(|line| line.starts_with("== ")).unwrap_or("the beginning");
        let tail = shell.log_tail();
        return Err(Failure(format!("{name}: the commands at {at} ended with {status}:\n{tail}")));
    }
    work.succeeded();
    Ok(printed)
}

fn path_with(bin: &Path) -> std::ffi::OsString {
    let mut path = bin.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

/// `quorate`, and scripts by the names of Kafka's.
fn write_programs(bin: &Path, kafka: KafkaVersion) -> Outcome<()> {
    let quorate = bin.join("quorate");
    symlink(quorate_binary()?, &quorate)
        .map_err(|e| Failure(format!("cannot link {}: {e}", quorate.display())))?;
    let (start, server) = SERVER;
    write_script(&bin.join(start), kafka, "INFO", server)?;
    for (script, tool) in TOOLS {
        write_script(&bin.join(script), kafka.tools(), "ERROR", tool.class(kafka.tools()))?;
    }
    Ok(())
}

fn write_script(file: &Path, kafka: KafkaVersion, level: &str, class: &str) -> Outcome<()> {
    let java = kafka.java(HEAP_MIB, level)?;
    let words = std::iter::once(java.get_program()).chain(java.get_args());
    let quoted: Vec<String> =
        words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))).collect();
    write(file, &format!("#!/bin/sh\nexec {} {class} \"$@\"\n", quoted.join(" ")), 0o755)
}

fn write(file: &Path, text: &str, mode: u32) -> Outcome<()> {
    let fault = |e: std::io::Error| Failure(format!("cannot write {}: {e}", file.display()));
    fs::write(file, text).map_err(fault)?;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).map_err(fault)
}

/// Each block with the number of its first line.
fn shell_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        match (inside, line) {
            (false, "```sh") => {
                inside = true;
                blocks.push((index + 2, String::new()));
            }
            (true, "```") => inside = false,
            (true, _) => {
                if let Some((_, block)) = blocks.last_mut() {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            (false, _) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_out_as_they_stand() {
        let text = "# A\n```sh\na \\\n  b\n```\n```\nnot this\n```\n    nor this\n```sh\nc\n```\n";
        let blocks = [(3, "a \\\n  b\n".to_owned()), (11, "c\n".to_owned())];
        assert_eq!(shell_blocks(text), blocks);
    }
}
