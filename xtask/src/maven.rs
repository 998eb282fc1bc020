//! The Kafka jars, resolved by Maven into a cache that outlives `target/`.
//!
//! Layout: `<cache>/kafka/<version>/libs/*.jar` is a classpath that starts a Kafka process, and
//! `<cache>/jars/<artifact>-<version>.jar` holds single artifacts without their dependencies.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Kafka versions that the interop tests start.
pub const INTEROP_VERSIONS: [&str; 5] = ["3.9.1", "4.1.1", "4.3.0", "4.3.1", "4.4.0"];

/// Kafka 4.x logs through log4j 2 and does not bring these two along.
const LOG4J_VERSION: &str = "2.25.4";

/// Where jars are kept: `$QUORATE_CACHE`, else `target/cache` of the workspace.
pub fn cache_dir() -> PathBuf {
    match std::env::var_os("QUORATE_CACHE") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => crate::workspace_root().join("target").join("cache"),
    }
}

/// Names what is missing to run real Kafka, with the way to get it.
pub fn check_tools() -> Result<(), String> {
    let mut missing = Vec::new();
    for (tool, arg, package) in
        [("java", "-version", "a JDK 17 or later"), ("mvn", "-v", "Apache Maven 3.8 or later")]
    {
        let found = Command::new(tool).arg(arg).output().is_ok_and(|out| out.status.success());
        if !found {
            missing.push(format!("`{tool}` ({package})"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "not found on this machine: {}.\n\
         Tests with real Kafka need both. On Debian or Ubuntu: apt-get install -y \
         openjdk-17-jdk-headless maven; on macOS: brew install openjdk@17 maven.",
        missing.join(" and ")
    ))
}

/// The jars that start Kafka of one version (`kafka.Kafka`) and, where published, its
/// command-line tools. Fetched once.
pub fn kafka_classpath(version: &str) -> Result<Vec<PathBuf>, String> {
    let dir = cache_dir().join("kafka").join(version);
    let libs = dir.join("libs");
    if !dir.join(".done").exists() {
        check_tools()?;
        println!("fetching the jars of Apache Kafka {version} through Maven");
        let mut pom = String::from(POM_HEAD);
        pom += &dependency("org.apache.kafka", "kafka_2.13", version);
        if tools_version(version) == version {
            pom += &dependency("org.apache.kafka", "kafka-tools", version);
        }
        if !version.starts_with("3.") {
            for artifact in ["log4j-slf4j-impl", "log4j-1.2-api"] {
                pom += &dependency("org.apache.logging.log4j", artifact, LOG4J_VERSION);
            }
        }
        pom += POM_TAIL;
        fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        let pom_file = dir.join("pom.xml");
        fs::write(&pom_file, pom)
            .map_err(|e| format!("cannot write {}: {e}", pom_file.display()))?;
        let mvn = copy_dependencies(&pom_file, &libs);
        run_maven(mvn, &format!("the jars of Apache Kafka {version}"))?;
        fs::write(dir.join(".done"), "").map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    jars_in(&libs)
}

/// The version whose command-line tools drive `version`: kafka-tools 4.4.0 is not published.
pub fn tools_version(version: &str) -> &str {
    if version == "4.4.0" { "4.3.1" } else { version }
}

/// Single artifacts, `group:artifact:version` each (an artifact once), without their dependencies.
/// Fetched once, all that are missing in one run of Maven.
pub fn jars(coordinates: &[&str]) -> Result<Vec<PathBuf>, String> {
    let dir = cache_dir().join("jars");
    let (mut found, mut missing, mut pom) = (Vec::new(), Vec::new(), String::from(POM_HEAD));
    for coordinate in coordinates {
        let mut parts = coordinate.split(':');
        let (Some(group), Some(artifact), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("{coordinate:?} is not group:artifact:version"));
        };
        let name = format!("{artifact}-{version}.jar");
        let jar = dir.join(&name);
        if !jar.exists() {
            pom += &dependency(group, artifact, version);
            missing.push((*coordinate, name));
        }
        found.push(jar);
    }
    if !missing.is_empty() {
        check_tools()?;
        let names: Vec<&str> = missing.iter().map(|(coordinate, _)| *coordinate).collect();
        let names = names.join(", ");
        println!("fetching {names} through Maven");
        // Into a folder of its own and moved from there, so that a torn copy is never found.
        let fresh = dir.join(format!("fresh-{}", std::process::id()));
        let fault = |e: std::io::Error| format!("cannot keep jars in {}: {e}", dir.display());
        fs::create_dir_all(&fresh).map_err(fault)?;
        fs::write(fresh.join("pom.xml"), pom + POM_TAIL).map_err(fault)?;
        let mut mvn = copy_dependencies(&fresh.join("pom.xml"), &fresh);
        mvn.arg("-DexcludeTransitive=true");
        run_maven(mvn, &names)?;
        for (coordinate, name) in &missing {
            fs::rename(fresh.join(name), dir.join(name))
                .map_err(|e| format!("Maven brought no {name} for {coordinate}: {e}"))?;
        }
        fs::remove_dir_all(&fresh).map_err(fault)?;
    }
    Ok(found)
}

fn copy_dependencies(pom: &Path, to: &Path) -> Command {
    let mut mvn = Command::new("mvn");
    mvn.args(["-q", "-B", "-f"])
        .arg(pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", to.display()));
    mvn
}

fn run_maven(mut mvn: Command, what: &str) -> Result<(), String> {
    let output = mvn.output().map_err(|e| format!("cannot start mvn: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).take(8).collect();
    Err(format!(
        "Maven could not fetch {what}. Is a Maven repository reachable from here (a mirror goes \
         into ~/.m2/settings.xml)? It said:\n{}",
        errors.join("\n")
    ))
}

fn jars_in(libs: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(libs).map_err(|e| format!("cannot read {}: {e}", libs.display()))?;
    let mut jars: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "jar"))
        .collect();
    jars.sort();
    if jars.is_empty() {
        return Err(format!("{} holds no jars: delete it and try again", libs.display()));
    }
    Ok(jars)
}

const POM_HEAD: &str = "<project><modelVersion>4.0.0</modelVersion><groupId>quorate</groupId>\
    <artifactId>jars</artifactId><version>1</version><dependencies>\n";
const POM_TAIL: &str = "</dependencies></project>\n";

fn dependency(group: &str, artifact: &str, version: &str) -> String {
    format!(
        "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
         <version>{version}</version></dependency>\n"
    )
}
