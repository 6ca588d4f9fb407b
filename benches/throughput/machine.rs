//! Where and of what a run was: processor, system, versions, commit, date. As the system says it; what it
//! doesn't say is left out.

use std::fs;
use std::process::Command;

use crate::cores::CORES;

/// One line a fact.
pub(crate) fn description() -> Vec<String> {
    let cores = |cores: &[usize]| cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let pinned = if CORES.apart() {
        format!(
            "pinned: server and limits on core {}, load generator and Redis on core {}",
            cores(&CORES.server),
            cores(&CORES.load)
        )
    } else {
        "not pinned: server, load generator and Redis share all cores".to_owned()
    };
    let facts = [
        Some(format!("date: {}", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default())),
        commit(),
        processor(),
        memory(),
        said("uname", &["-srm"]),
        Some(pinned),
        said("rustc", &["--version"]),
        said("redis-server", &["--version"])
            .and_then(|line| Some(format!("Redis {}", line.split("v=").nth(1)?.split(' ').next()?))),
        said(&format!("{}/.venv/bin/node", env!("CARGO_MANIFEST_DIR")), &["--version"])
            .map(|version| format!("Node.js {version}")),
        fs::read_to_string("/proc/loadavg")
            .ok()
            .map(|load| format!("load before: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "))),
    ];
    facts.into_iter().flatten().collect()
}

fn commit() -> Option<String> {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed =
        said("git", &["status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.lock", "benches"])?;
    Some(format!("commit: {commit}{}", if changed.is_empty() { "" } else { ", changed since" }))
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?.1.trim();
    let siblings = fs::read_to_string("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list").ok();
    let shared = siblings.is_some_and(|list| list.trim().contains([',', '-']));
    let shared = if shared { ", two to a physical core" } else { "" };
    Some(format!("{} × {model}{shared}", text.matches("model name").count()))
}

fn memory() -> Option<String> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(format!("{} GiB of memory", kib >> 20))
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
