//! A MariaDB of the benchmark's own, on a free port, gone with its folder.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long it may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const STATE: &str = "btrust";
/// Keys have backups of their own, so they have a database of their own.
const KEYS: &str = "btrust_keys";

pub struct MariaDb {
    _child: Child,
    pub state_url: String,
    pub keys_url: String,
}

impl MariaDb {
    /// Installs into `folder` and starts; every commit is flushed, as in production.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let data = folder.join("mariadb");
        let log = std::fs::File::create(folder.join("mariadb.log"))?;
        let installed = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--skip-test-db"])
            .arg("--auth-root-authentication-method=normal")
            .arg(format!("--datadir={}", data.display()))
            .stdout(Stdio::null())
            .stderr(log.try_clone()?)
            .status()
            .await
            .context("mariadb-install-db is not there; install it: apt install mariadb-server")?;
        ensure!(installed.success(), "mariadb-install-db has failed");
        let port = super::stage::free_port().await?;
        let init = folder.join("mariadb-init.sql");
        std::fs::write(
            &init,
            format!(
                "CREATE DATABASE IF NOT EXISTS {STATE};\nCREATE DATABASE IF NOT EXISTS {KEYS};\n"
            ),
        )?;
        let mut child = Command::new("mariadbd")
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--port={port}"))
            .arg(format!(
                "--socket={}",
                folder.join("mariadb.sock").display()
            ))
            .arg(format!(
                "--pid-file={}",
                folder.join("mariadb.pid").display()
            ))
            .arg(format!("--init-file={}", init.display()))
            .args([
                "--character-set-server=utf8mb4",
                "--collation-server=utf8mb4_unicode_ci",
                "--innodb-flush-log-at-trx-commit=1",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("mariadbd is not there; install it: apt install mariadb-server")?;
        let ready = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = ready => {}
            ended = child.wait() => bail!("mariadbd has ended: {}", ended?),
            () = tokio::time::sleep(READY_WITHIN) => bail!("mariadbd does not answer"),
        }
        let server = format!("mysql://root@127.0.0.1:{port}");
        Ok(Self {
            _child: child,
            state_url: format!("{server}/{STATE}"),
            keys_url: format!("{server}/{KEYS}"),
        })
    }
}
