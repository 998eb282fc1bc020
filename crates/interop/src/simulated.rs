use crate::{Failure, Outcome};
use quorate_base::{Prng, Uuid};
use quorate_client::SimulatedBroker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Brokers without data that register with a controller and heartbeat from one thread each.
#[derive(Debug)]
pub struct SimulatedBrokers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How often a simulated broker heartbeats; Kafka's default is two seconds.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(1000);

impl SimulatedBrokers {
    /// Registers brokers 1..=count at the controller and returns when all are unfenced.
    pub fn start(controller: &str, cluster_id: Uuid, count: i32) -> Outcome<SimulatedBrokers> {
        let mut prng = Prng::new(u64::from(std::process::id()));
        let mut running = SimulatedBrokers { stop: Arc::default(), threads: Vec::new() };
        for id in 1..=count {
            let (incarnation, directory) = (Uuid::random(&mut prng), Uuid::random(&mut prng));
            let cluster_id = cluster_id.to_string();
            let mut broker =
                SimulatedBroker::register(controller, &cluster_id, id, incarnation, directory)?;
            crate::wait_for(&format!("broker {id} is unfenced"), Duration::from_secs(30), || {
                if broker.heartbeat()?.is_fenced {
                    return Err(Failure::new("it is fenced"));
                }
                Ok(())
            })?;
            let stop = Arc::clone(&running.stop);
            running.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(HEARTBEAT_INTERVAL);
                    // A controller that is gone ends the run elsewhere, with a better message.
                    if broker.heartbeat().is_err() {
                        return;
                    }
                }
            }));
        }
        Ok(running)
    }
}

impl Drop for SimulatedBrokers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
