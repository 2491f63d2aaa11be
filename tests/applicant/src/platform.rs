//! The platform that the applicant visits: one already running, or a `btrust up` of our own.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// How long our own platform may take to say that it is healthy.
///
/// The product promises two seconds; a machine that compiles something else at
/// the same time gets a multiple of that.
const START_MAX: Duration = Duration::from_mins(1);
/// How long our own platform may take to stop after being asked.
const STOP_MAX: Duration = Duration::from_secs(15);
/// Where the output of our own platform is kept, inside its data folder.
const LOG_FILE: &str = "btrust-up.log";
/// Lines of that log that are shown when the start fails.
const LOG_TAIL_LINES: usize = 20;
/// Ticks a second of the process times in `/proc`. Source: `USER_HZ`, fixed at
/// 100 in Linux's interface to programs.
const TICKS_PER_SECOND: u64 = 100;

/// Where the public services answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Urls {
    pub gateway: String,
    pub auth: String,
}

/// A client of the auth service.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: String,
}

/// What `btrust up --json` says on its first line once it is healthy.
#[derive(Deserialize)]
struct Announcement {
    urls: Urls,
    credentials: Announced,
    pid: u32,
}

#[derive(Deserialize)]
struct Announced {
    bank: Credentials,
}

/// A platform to visit.
pub struct Platform {
    pub urls: Urls,
    pub bank: Credentials,
    /// Its data folder, where this machine can read it.
    pub data: Option<PathBuf>,
    own: Option<Own>,
}

/// A platform that this process has started and must stop.
struct Own {
    child: Child,
    pid: u32,
    /// Removed with everything in it when dropped.
    _temporary: Option<TempDir>,
}

impl Platform {
    /// A platform that somebody else runs.
    #[must_use]
    pub fn running(urls: Urls, bank: Credentials, data: Option<PathBuf>) -> Self {
        Self {
            urls,
            bank,
            data,
            own: None,
        }
    }

    /// Starts `btrust up` on `data`, or on a temporary folder, with free ports.
    ///
    /// # Errors
    ///
    /// When it does not become healthy in time; the last lines of its log are part of the message.
    pub async fn start(data: Option<PathBuf>, models: &Path) -> Result<Self> {
        let (data, temporary) = if let Some(data) = data {
            std::fs::create_dir_all(&data)
                .with_context(|| format!("cannot create {}", data.display()))?;
            (data, None)
        } else {
            let temporary =
                TempDir::with_prefix("btrust-demo-").context("cannot create a temporary folder")?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let log_path = data.join(LOG_FILE);
        let log = File::create(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        let binary = btrust_binary()?;
        let mut child = Command::new(&binary)
            .args(["up", "--json", "--port-base", "0", "--data"])
            .arg(&data)
            .arg("--models")
            .arg(models)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().context("cannot share the log")?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let stdout = child
            .stdout
            .take()
            .context("the platform has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let announced = timeout(START_MAX, announcement(&mut lines)).await;
        let Ok(Ok(Announcement {
            urls,
            credentials,
            pid,
        })) = announced
        else {
            bail!(
                "the platform did not become healthy; the end of {}:\n{}",
                log_path.display(),
                tail(&log_path)
            );
        };
        keep_reading(lines, tokio::fs::File::from_std(log));
        let own = Own {
            child,
            pid,
            _temporary: temporary,
        };
        Ok(Self {
            urls,
            bank: credentials.bank,
            data: Some(data),
            own: Some(own),
        })
    }

    /// CPU time that our own platform has used so far with all its threads and
    /// finished children, or `None` for one that somebody else runs.
    #[must_use]
    pub fn cpu_ms(&self) -> Option<u64> {
        let own = self.own.as_ref()?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", own.pid)).ok()?;
        cpu_ms_of(&stat)
    }

    /// The messages that the platform's embedded outbox holds, as JSON.
    ///
    /// # Errors
    ///
    /// When the platform's data folder is unknown or cannot be read.
    pub async fn outbox(&self) -> Result<String> {
        let data = self.data.as_ref().context(
            "the one-time code is in the platform's outbox: give its folder with --data DIR",
        )?;
        let output = Command::new(btrust_binary()?)
            .args(["otp", "outbox", "--json", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run `btrust otp outbox`")?;
        if !output.status.success() {
            bail!(
                "`btrust otp outbox` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout).context("`btrust otp outbox` did not print text")
    }

    /// Asks our own platform to stop and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        let Some(own) = self.own.as_mut() else {
            return Ok(());
        };
        // SIGTERM lets it finish its commits; the child is ours, so is its id.
        Command::new("kill")
            .arg(own.pid.to_string())
            .status()
            .await
            .context("cannot run `kill`")?;
        match timeout(STOP_MAX, own.child.wait()).await {
            Ok(waited) => waited.map(drop).context("cannot wait for the platform"),
            Err(_) => bail!("the platform did not stop within {} s", STOP_MAX.as_secs()),
        }
    }
}

/// The product's binary: `BTRUST_BIN`, or `btrust` beside this program.
fn btrust_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BTRUST_BIN") {
        return Ok(path.into());
    }
    let this = std::env::current_exe().context("cannot find this program's own path")?;
    let path = this.with_file_name("btrust");
    if path.is_file() {
        return Ok(path);
    }
    bail!(
        "there is no `btrust` beside {}; build it with `cargo build`, or set BTRUST_BIN",
        this.display()
    )
}

/// Reads lines until the announcement; log lines before it are passed over.
async fn announcement(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Announcement> {
    while let Some(line) = lines.next_line().await? {
        if let Ok(announcement) = serde_json::from_str(&line) {
            return Ok(announcement);
        }
    }
    bail!("the platform closed its output")
}

/// Keeps the platform's output flowing into its log, so that it never blocks on a full pipe.
fn keep_reading(mut lines: Lines<BufReader<ChildStdout>>, mut log: tokio::fs::File) {
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if log.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    });
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

/// User and system time of a process and its finished children, from `/proc/<pid>/stat`.
fn cpu_ms_of(stat: &str) -> Option<u64> {
    // The name in parentheses may hold spaces; the fields after it are numbered
    // from 3 on, and utime to cstime are fields 14 to 17. Source: proc(5).
    let (_, after_name) = stat.rsplit_once(')')?;
    let times: Vec<u64> = after_name
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|it| it.parse().ok())
        .collect();
    (times.len() == 4).then(|| times.iter().sum::<u64>() * 1000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_counts_the_process_and_its_children() {
        let stat = "41 (a (name) b) S 1 41 41 0 -1 4194560 5 6 7 8 100 20 3 4 20 0 9 0 100 1 2";
        assert_eq!(cpu_ms_of(stat), Some(1270));
        assert_eq!(cpu_ms_of("41 (btrust) S 1 41"), None);
    }

    #[test]
    fn the_announcement_may_say_more_than_the_applicant_needs() {
        let line = r#"{"urls":{"gateway":"http://g","auth":"http://a","core":"http://c"},
            "credentials":{"bank":{"clientId":"b","clientSecret":"s"},"reviewer":{"clientId":"r","clientSecret":"t"}},"pid":7}"#;
        let announcement: Announcement = serde_json::from_str(line).unwrap();
        assert_eq!(
            (
                announcement.pid,
                announcement.credentials.bank.client_id.as_str()
            ),
            (7, "b")
        );
    }
}
