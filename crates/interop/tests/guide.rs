//! A new user follows the guide: every command of its first pages is run as it stands there.

use quorate_interop::{KafkaVersion, Outcome, ensure, run_guide};

#[test]
fn from_nothing_to_a_quorum_through_upgrades_and_drills() -> Outcome<()> {
    let pages = ["first-quorum.md", "upgrade.md", "drills.md"];
    let printed = run_guide("guide", &pages, KafkaVersion::V4_3_0)?;
    for expected in [
        "Created topic greetings.",
        "hello",
        "Created topic after-the-loss.",
        "Transferred leadership from controller",
        "Created topic while-it-hung.",
        "Created topic while-it-was-gone.",
        "Created topic with-two-of-three.",
    ] {
        ensure!(printed.contains(expected), "{expected:?} was not printed:\n{printed}");
    }
    Ok(())
}
