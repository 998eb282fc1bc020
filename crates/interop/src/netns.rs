//! Hosts of a test that can lose each other: network namespaces on one bridge.
//!
//! Every host has a namespace, an address and a cable to the bridge, which stands in a namespace of
//! its own, so that nothing of the machine's network is touched. Packets are lost by a rule at the
//! receiver: the sender is told nothing, as with a switch that drops them.

use crate::process::remove_netns_when_killed;
use crate::{Failure, Outcome, Place, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// All namespaces of all tests begin so; the id of the test's process follows.
const PREFIX: &str = "quorate-";
const BRIDGE: &str = "hub";
const LEAVE_OUT: &str = "QUORATE_NO_NETNS";
/// The first three parts of every address; nobody outside of the test can see them.
const SUBNET: &str = "10.77.0";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A small network. Hosts are called by short names; everything is removed when it is dropped, when
/// the test panics, and when its process is killed.
#[derive(Debug)]
pub struct Net {
    /// Common to all its namespaces.
    prefix: String,
    hosts: BTreeMap<String, Host>,
    addresses_given: u8,
}

#[derive(Debug)]
struct Host {
    address: String,
    /// Its end of the cable at the bridge.
    cable: String,
}

impl Net {
    /// A network without hosts. `None`, said on standard error, if `QUORATE_NO_NETNS` is set; a
    /// failure where namespaces cannot be made.
    pub fn new() -> Outcome<Option<Net>> {
        if std::env::var_os(LEAVE_OUT).is_some() {
            // Not by a macro: those are held back when a test succeeds.
            let _ = writeln!(
                std::io::stderr(),
                "\nLEFT OUT: a test that cuts networks, because {LEAVE_OUT} is set"
            );
            return Ok(None);
        }
        check_means()?;
        remove_what_killed_tests_left();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let net = Net {
            prefix: format!("{PREFIX}{}-{number}-", std::process::id()),
            hosts: BTreeMap::new(),
            addresses_given: 0,
        };
        let hub = net.add_netns(BRIDGE)?;
        ip(&["-n", &hub, "link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", BRIDGE, "up"])?;
        Ok(Some(net))
    }

    /// One more host, which reaches all others.
    pub fn add_host(&mut self, name: &str) -> Outcome<Place> {
        let netns = self.add_netns(name)?;
        let hub = self.netns(BRIDGE);
        let cable = format!("to-{name}");
        let peer = ["peer", "name", "eth0", "netns", &netns];
        ip(&[&["-n", &hub, "link", "add", &cable, "type", "veth"], &peer[..]].concat())?;
        ip(&["-n", &hub, "link", "set", &cable, "master", BRIDGE, "up"])?;
        let address = self.next_address();
        ip(&["-n", &netns, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &netns, "link", "set", "eth0", "up"])?;
        let host = address.clone();
        self.hosts.insert(name.to_owned(), Host { address, cable });
        Ok(Place { host, name: None, netns: Some(netns) })
    }

    /// The address that a host has now.
    pub fn address(&self, name: &str) -> &str {
        &self.host(name).address
    }

    /// Runs the test on a host: its sockets, threads and processes are there.
    pub fn inside<T: Send>(
        &self,
        name: &str,
        test: impl FnOnce() -> Outcome<T> + Send,
    ) -> Outcome<T> {
        let path = format!("/run/netns/{}", self.netns(name));
        // A thread of its own, which never comes back from there.
        let result = std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                let fault = |e: std::io::Error| Failure(format!("cannot enter {path}: {e}"));
                let file = fs::File::open(&path).map_err(fault)?;
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|e| fault(e.into()))?;
                test()
            });
            there.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// From now on packets from one host to the other are lost; those the other way are not.
    pub fn cut_one_way(&self, from: &str, to: &str) -> Outcome<()> {
        let source = self.address(from);
        self.iptables(to, &["-I", "INPUT", "-s", source, "-j", "DROP"])
    }

    /// From now on the two hosts lose each other's packets.
    pub fn cut(&self, one: &str, other: &str) -> Outcome<()> {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// Takes back all cuts between the two hosts.
    pub fn heal(&self, one: &str, other: &str) -> Outcome<()> {
        for (from, to) in [(one, other), (other, one)] {
            // Until the rule is not found any more.
            let source = self.address(from);
            while self.iptables(to, &["-D", "INPUT", "-s", source, "-j", "DROP"]).is_ok() {}
        }
        Ok(())
    }

    /// Takes back all cuts, and plugs all cables in.
    pub fn heal_all(&self) -> Outcome<()> {
        for name in self.hosts.keys() {
            self.iptables(name, &["-F", "INPUT"])?;
            self.plug(name)?;
        }
        Ok(())
    }

    /// Pulls the cable of a host: it loses everybody, both ways.
    pub fn unplug(&self, name: &str) -> Outcome<()> {
        ip(&["-n", &self.netns(BRIDGE), "link", "set", &self.host(name).cable, "down"])
    }

    /// Puts the cable of a host back.
    pub fn plug(&self, name: &str) -> Outcome<()> {
        ip(&["-n", &self.netns(BRIDGE), "link", "set", &self.host(name).cable, "up"])
    }

    /// The host has another address from now on. Whoever sends to the old one hears nothing.
    pub fn change_address(&mut self, name: &str) -> Outcome<String> {
        let new = self.next_address();
        let netns = self.netns(name);
        ip(&["-n", &netns, "address", "flush", "dev", "eth0", "scope", "global"])?;
        ip(&["-n", &netns, "address", "add", &format!("{new}/24"), "dev", "eth0"])?;
        if let Some(host) = self.hosts.get_mut(name) {
            host.address.clone_from(&new);
        }
        Ok(new)
    }

    /// Writes the file by which hosts know each other by name, with today's addresses. Processes
    /// that run on these hosts see the change, if the first writing was before their start.
    pub fn write_names(&self) -> Outcome<()> {
        let known: String =
            self.hosts.iter().map(|(name, host)| format!("{} {name}\n", host.address)).collect();
        for name in self.hosts.keys() {
            let dir = names_dir(&self.netns(name));
            let fault = |e| Failure(format!("cannot write names to {}: {e}", dir.display()));
            fs::create_dir_all(&dir).map_err(fault)?;
            // In place: the running processes have this very file mounted.
            fs::write(dir.join("hosts"), format!("127.0.0.1 localhost\n{known}")).map_err(fault)?;
        }
        Ok(())
    }

    fn host(&self, name: &str) -> &Host {
        self.hosts.get(name).unwrap_or_else(|| panic!("there is no host {name}"))
    }

    fn netns(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn add_netns(&self, name: &str) -> Outcome<String> {
        let netns = self.netns(name);
        remove_netns_when_killed(&netns);
        ip(&["netns", "add", &netns])?;
        ip(&["-n", &netns, "link", "set", "lo", "up"])?;
        Ok(netns)
    }

    fn next_address(&mut self) -> String {
        self.addresses_given += 1;
        format!("{SUBNET}.{}", self.addresses_given)
    }

    fn iptables(&self, name: &str, rule: &[&str]) -> Outcome<()> {
        let netns = self.netns(name);
        ip(&[&["netns", "exec", &netns, "iptables", "-w"], rule].concat())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let names = self.hosts.keys().map(String::as_str).chain([BRIDGE]);
        for netns in names.map(|name| self.netns(name)) {
            remove(&netns);
        }
    }
}

fn names_dir(netns: &str) -> PathBuf {
    Path::new("/etc/netns").join(netns)
}

fn remove(netns: &str) {
    if let Err(error) = ip(&["netns", "del", netns]) {
        eprintln!("{error}");
    }
    // Most have none.
    let _ = fs::remove_dir_all(names_dir(netns));
}

/// Says at once what is missing on this machine.
fn check_means() -> Outcome<()> {
    let way_out = format!("Or set {LEAVE_OUT}=1 to leave out the tests that cut networks.");
    ensure!(
        rustix::process::geteuid().is_root(),
        "network namespaces can only be made by root: run the tests as root. {way_out}"
    );
    for (program, package) in [("ip", "iproute2"), ("iptables", "iptables")] {
        let version = Command::new(program).arg("-V").stdout(Stdio::null()).status();
        ensure!(
            version.is_ok_and(|status| status.success()),
            "{program} is missing: install the package {package}. {way_out}"
        );
    }
    Ok(())
}

/// A test that was killed together with its watchdog left its namespaces behind.
fn remove_what_killed_tests_left() {
    let Ok(found) = fs::read_dir("/run/netns") else { return };
    for entry in found.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}

fn ip(args: &[&str]) -> Outcome<()> {
    let fault = |why: &str| Failure(format!("`ip {}` failed: {why}", args.join(" ")));
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|e| fault(&e.to_string()))?;
    ensure!(output.status.success(), "{}", fault(String::from_utf8_lossy(&output.stderr).trim()));
    Ok(())
}
