//! A steady load on a quorum: topics created one after another, and brokers without data that stay
//! alive whoever leads.

use crate::{CommonLog, DEADLINE, Failure, Outcome, ensure, wait_for};
use quorate_base::{Prng, Uuid};
use quorate_client::{Admin, ClientError, Connection, NewTopic, Options, SimulatedBroker};
use quorate_protocol::ErrorCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause after a failed attempt: short against the failover times that are measured.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Creates topics one after another at whichever server takes them, and remembers the acknowledged.
#[derive(Debug)]
pub struct Creates {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    avoid: Mutex<Option<String>>,
    /// Held while a request is under way.
    attempt: Mutex<()>,
    acked: Mutex<Vec<(Instant, String)>>,
    refused: Mutex<Option<String>>,
}

impl Creates {
    /// Starts with the servers `host:port`, controllers or brokers; `timeout` is for one request.
    pub fn start(prefix: &str, servers: Vec<String>, timeout: Duration) -> Creates {
        Creates::paced(prefix, servers, timeout, Duration::ZERO)
    }

    /// With a pause after each: real brokers open files for every topic.
    pub fn paced(
        prefix: &str,
        servers: Vec<String>,
        timeout: Duration,
        pause: Duration,
    ) -> Creates {
        let shared = Arc::new(Shared::default());
        let (of_thread, prefix) = (Arc::clone(&shared), prefix.to_owned());
        let thread = std::thread::spawn(move || {
            let mut connection = None;
            let mut server = 0;
            for number in 0.. {
                let name = format!("{prefix}-{number}");
                while !of_thread.stop.load(Ordering::Relaxed) {
                    let address = &servers[server % servers.len()];
                    let attempt = lock(&of_thread.attempt);
                    let created = !of_thread.is_avoided(address)
                        && of_thread.create(&mut connection, address, &name, timeout);
                    drop(attempt);
                    if !created {
                        connection = None;
                        server += 1;
                        std::thread::sleep(RETRY_PAUSE);
                        continue;
                    }
                    std::thread::park_timeout(pause);
                    break;
                }
                if of_thread.stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Creates { shared, thread: Some(thread) }
    }

    /// How many are acknowledged so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.acked).len()
    }

    /// From now on nothing is sent to this server (one that was stopped by the test: to wait for
    /// it would measure the timeout of this client). Returns when no request to it is under way.
    pub fn avoid(&self, server: Option<String>) {
        *lock(&self.shared.avoid) = server;
        drop(lock(&self.shared.attempt));
    }

    /// Waits until so many more are acknowledged.
    pub fn await_more(&self, more: usize) -> Outcome<()> {
        let wanted = self.count() + more;
        wait_for("topics are created", DEADLINE, || {
            // No use to wait for better: say it at once.
            if let Some(why) = lock(&self.shared.refused).clone() {
                return Ok(Err(Failure(why)));
            }
            let count = self.count();
            ensure!(count >= wanted, "{count} of {wanted}");
            Ok(Ok(()))
        })?
    }

    /// The longest time without an acknowledgement, beginning at `since` or later.
    pub fn longest_gap_since(&self, since: Instant) -> Duration {
        let acked = lock(&self.shared.acked);
        let times: Vec<Instant> = acked.iter().map(|(when, _)| *when).collect();
        drop(acked);
        let later: Vec<Instant> =
            std::iter::once(since).chain(times.into_iter().filter(|when| *when > since)).collect();
        later.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Ends the load; the names of all acknowledged topics.
    pub fn stop(mut self) -> Vec<String> {
        self.join();
        lock(&self.shared.acked).iter().map(|(_, name)| name.clone()).collect()
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Creates {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn is_avoided(&self, address: &str) -> bool {
        lock(&self.avoid).as_deref() == Some(address)
    }

    /// Whether the topic exists now.
    fn create(
        &self,
        connection: &mut Option<Admin>,
        address: &str,
        name: &str,
        timeout: Duration,
    ) -> bool {
        match try_create(connection, address, name, timeout) {
            Ok(()) => {}
            // Nobody else uses this name: an attempt whose answer was lost had its effect. The
            // attempt need not be this client's: a broker forwards again when its controller dies.
            Err(ClientError::Refused { error_code, .. })
                if error_code == ErrorCode::TopicAlreadyExists.code() => {}
            Err(ClientError::Refused { error_code, message, what }) => {
                // One of Kafka's that is stopping may still take a connection, and refuse it.
                if connection.is_some() && !is_passing(error_code) {
                    let why = format!("{address}: {what}: error {error_code} {message:?}");
                    *lock(&self.refused) = Some(why);
                }
                return false;
            }
            Err(_) => return false,
        }
        lock(&self.acked).push((Instant::now(), name.to_owned()));
        true
    }
}

fn try_create(
    connection: &mut Option<Admin>,
    address: &str,
    name: &str,
    timeout: Duration,
) -> Result<(), ClientError> {
    let admin = match connection {
        Some(admin) => admin,
        None => connection.insert(Admin::over(Connection::connect(address, options(timeout))?)),
    };
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        ..NewTopic::default()
    };
    admin.create_topic(topic)
}

/// Codes by which a server says: not now, or not here.
fn is_passing(error_code: i16) -> bool {
    [
        ErrorCode::NotController,
        ErrorCode::RequestTimedOut,
        ErrorCode::InvalidReplicationFactor,
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::ThrottlingQuotaExceeded,
    ]
    .iter()
    .any(|code| code.code() == error_code)
}

/// Fails unless every acknowledged topic was created exactly once.
pub fn each_exactly_once(acked: &[String], log: &CommonLog) -> Outcome<()> {
    let topics = log.topics()?;
    let lost: Vec<&String> = acked.iter().filter(|name| !topics.contains_key(*name)).collect();
    let some = &lost[..lost.len().min(10)];
    ensure!(lost.is_empty(), "{} acknowledged topics are lost, like {some:?}", lost.len());
    none_twice(log)
}

/// Fails if a topic was created more than once.
pub fn none_twice(log: &CommonLog) -> Outcome<()> {
    let topics = log.topics()?;
    let twice: Vec<_> = topics.iter().filter(|(_, count)| **count != 1).collect();
    ensure!(twice.is_empty(), "topics created more than once: {twice:?}");
    Ok(())
}

/// Brokers without data that heartbeat to whichever controller leads.
#[derive(Debug)]
pub struct FollowingBrokers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl FollowingBrokers {
    /// Registers brokers 1..=count at the leader and returns when all are unfenced.
    pub fn start(
        leader: &str,
        controllers: &[String],
        cluster_id: Uuid,
        count: i32,
    ) -> Outcome<FollowingBrokers> {
        let mut prng = Prng::new(u64::from(std::process::id()));
        let mut running = FollowingBrokers { stop: Arc::default(), threads: Vec::new() };
        for id in 1..=count {
            let (incarnation, directory) = (Uuid::random(&mut prng), Uuid::random(&mut prng));
            let cluster_id = cluster_id.to_string();
            let mut broker =
                SimulatedBroker::register(leader, &cluster_id, id, incarnation, directory)?;
            wait_for(&format!("broker {id} is unfenced"), DEADLINE, || {
                ensure!(!broker.heartbeat()?.is_fenced, "it is fenced");
                Ok(())
            })?;
            let (stop, controllers) = (Arc::clone(&running.stop), controllers.to_vec());
            running
                .threads
                .push(std::thread::spawn(move || heartbeats(broker, controllers, &stop)));
        }
        Ok(running)
    }
}

fn heartbeats(mut broker: SimulatedBroker, controllers: Vec<String>, stop: &AtomicBool) {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        if broker.heartbeat().is_ok() {
            std::thread::park_timeout(Duration::from_millis(500));
            continue;
        }
        // Not the leader, or gone: ask around.
        let _ = broker.reconnect(&controllers[next % controllers.len()], options(FIND_TIMEOUT));
        next += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

const FIND_TIMEOUT: Duration = Duration::from_millis(1000);

impl Drop for FollowingBrokers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn options(request_timeout: Duration) -> Options {
    Options {
        client_id: "interop".to_owned(),
        connect_timeout: request_timeout.min(Duration::from_secs(2)),
        request_timeout,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
