//! From Kafka's controllers to ours and back, while producers, consumers and administrators work:
//! nothing acknowledged is lost, no broker is restarted, no log holds a fault. By the commands of
//! `docs/guide/migrate.md`. The tests named `takeover_drill` are run by `cargo xtask drills takeover`.
use quorate_interop::{Controller, KafkaVersion, Outcome, Road, Takeover};

/// Every road in both directions, on one cluster: CI has no time for several.
#[test]
fn to_quorate_and_back_by_both_roads_under_load() -> Outcome<()> {
    let version = KafkaVersion::V4_3_0;
    let mut takeover = Takeover::start(version, Road::GrowAndShrink, false)?;
    takeover.grow_and_shrink(Controller::Quorate)?;
    takeover.in_place(Controller::Java(version))?;
    takeover.in_place(Controller::Quorate)?;
    takeover.grow_and_shrink(Controller::Java(version))?;
    takeover.finish().map(drop)
}

macro_rules! drills {
    ($($name:ident: $version:ident by $road:ident;)*) => {
        $(mod $name {
            use super::*;

            /// Every step interrupted by SIGKILL of either side.
            #[test]
            fn interrupted() -> Outcome<()> {
                there_and_back(KafkaVersion::$version, Road::$road, true)
            }

            #[test]
            fn undisturbed() -> Outcome<()> {
                there_and_back(KafkaVersion::$version, Road::$road, false)
            }
        })*
    };
}

drills! {
    takeover_drill_static_3_9_1: V3_9_1 by StaticInPlace;
    takeover_drill_static_4_1_1: V4_1_1 by StaticInPlace;
    takeover_drill_static_4_3_0: V4_3_0 by StaticInPlace;
    takeover_drill_static_4_4_0: V4_4_0 by StaticInPlace;
    takeover_drill_dynamic_3_9_1: V3_9_1 by DynamicInPlace;
    takeover_drill_dynamic_4_1_1: V4_1_1 by DynamicInPlace;
    takeover_drill_dynamic_4_3_0: V4_3_0 by DynamicInPlace;
    takeover_drill_dynamic_4_4_0: V4_4_0 by DynamicInPlace;
    takeover_drill_growing_3_9_1: V3_9_1 by GrowAndShrink;
    takeover_drill_growing_4_1_1: V4_1_1 by GrowAndShrink;
    takeover_drill_growing_4_3_0: V4_3_0 by GrowAndShrink;
    takeover_drill_growing_4_4_0: V4_4_0 by GrowAndShrink;
}

fn there_and_back(version: KafkaVersion, road: Road, interrupted: bool) -> Outcome<()> {
    let mut takeover = Takeover::start(version, road, interrupted)?;
    if road == Road::GrowAndShrink {
        takeover.grow_and_shrink(Controller::Quorate)?;
        takeover.grow_and_shrink(Controller::Java(version))?;
    } else {
        takeover.in_place(Controller::Quorate)?;
        takeover.in_place(Controller::Java(version))?;
    }
    takeover.finish().map(drop)
}
