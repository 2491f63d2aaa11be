//! A MariaDB server of a test's own; it stands for MySQL.

#![expect(
    clippy::missing_panics_doc,
    reason = "a server that does not start ends the test that wants it"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, MySqlConnection};

/// Where the Debian package `mariadb-server` puts the server.
const SERVER: &str = "/usr/sbin/mariadbd";
/// How long the server may take to listen.
///
/// Source: 0.3 s on a quiet machine; tests share theirs with other tests.
const READY_WITHIN: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often a start is tried when somebody else takes the port meanwhile.
const STARTS_MAX: usize = 5;
/// Who tests connect as; the password shows that passwords work.
const USER: &str = "btrust";
const PASSWORD: &str = "a p@ss/word";
const PASSWORD_IN_URL: &str = "a%20p%40ss%2Fword";

/// Small files, so that a server costs little; safe settings, as a bank's would be.
const OPTIONS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_unicode_ci",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-log-file-size=32M",
    "--innodb-buffer-pool-size=64M",
    "--max-connections=500",
    "--skip-name-resolve",
];

/// Starts the server, says its process id, and ends it when whoever started it is gone, however that came
/// about; the folder goes with it unless a line says that it is still wanted.
const WATCHDOG: &str = r#"
folder=$1; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
pid=$!
echo $pid
if read -r kept; then kill -9 $pid 2>/dev/null; wait $pid; exit; fi
kill -9 $pid 2>/dev/null; wait $pid
rm -rf "$folder"
"#;

/// A running server; it ends and its folder goes when this is dropped.
#[derive(Debug)]
pub struct MariaDb {
    folder: PathBuf,
    port: u16,
    options: Vec<String>,
    watchdog: Option<Child>,
    pid: u32,
    n_databases: AtomicU32,
}

impl MariaDb {
    /// Starts a server with safe settings.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with `options` on top.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        let folder = new_folder("btrust-mariadb");
        copy(&template(), &folder.join("data"));
        let init = format!(
            "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO '{USER}'@'%';\n"
        );
        fs::write(folder.join("init.sql"), init).expect("the folder takes a file");
        let mut it = Self {
            folder,
            port: 0,
            options: options.iter().map(|it| (*it).to_owned()).collect(),
            watchdog: None,
            pid: 0,
            n_databases: AtomicU32::new(0),
        };
        for _ in 0..STARTS_MAX {
            it.port = free_port();
            if it.launch() {
                return it;
            }
        }
        panic!("mariadbd does not start:\n{}", it.log());
    }

    /// The URL of a new, empty database.
    pub async fn database(&self) -> String {
        let number = self.n_databases.fetch_add(1, Ordering::SeqCst);
        let name = format!("test_{}_{number}", std::process::id());
        let mut connection = self.connect().await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .expect("a database is created");
        connection.close().await.expect("the server says goodbye");
        self.url(&name)
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("mysql://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/{database}")
    }

    /// A connection of the test's own, to look and to disturb.
    pub async fn connect(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.url("mysql"))
            .await
            .expect("the server takes a connection")
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        let Some(mut watchdog) = self.watchdog.take() else {
            return;
        };
        let mut stdin = watchdog.stdin.take().expect("the watchdog listens");
        writeln!(stdin, "kept").expect("the watchdog hears");
        watchdog.wait().expect("the watchdog ends");
    }

    /// Starts the killed server again, on the same files and port.
    pub fn restart(&mut self) {
        self.kill();
        assert!(
            self.launch(),
            "mariadbd does not start again:\n{}",
            self.log()
        );
    }

    /// Lets the server stand still (SIGSTOP).
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a server that stands still go on.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// The process of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server has written about itself.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid.to_string()])
            .status();
        assert!(
            sent.is_ok_and(|it| it.success()),
            "the server takes SIG{name}"
        );
    }

    /// Starts the process; `false` when it has ended before it listened.
    fn launch(&mut self) -> bool {
        let path = |name: &str| self.folder.join(name).display().to_string();
        // A group of its own, so that whoever kills the tests' group leaves the watchdog to clean up.
        let mut watchdog = Command::new("sh")
            .process_group(0)
            .args(["-c", WATCHDOG, "mariadb-watchdog"])
            .arg(&self.folder)
            .args([SERVER, "--no-defaults"])
            .args(OPTIONS)
            .arg(format!("--user={}", user_name()))
            .arg(format!("--datadir={}", path("data")))
            .arg(format!("--tmpdir={}", path("")))
            .arg(format!("--socket={}", path("socket")))
            .arg(format!("--pid-file={}", path("pid")))
            .arg(format!("--init-file={}", path("init.sql")))
            .arg(format!("--port={}", self.port))
            .args(&self.options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        let stdout = watchdog.stdout.take().expect("the watchdog speaks");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the watchdog says the process id");
        self.pid = line.trim().parse().expect("a process id is a number");
        self.watchdog = Some(watchdog);
        let began = Instant::now();
        while began.elapsed() < READY_WITHIN {
            if greets(self.port) && self.runs() {
                return true;
            }
            if !self.runs() {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.kill();
        false
    }

    /// Whether the process is there and has not ended.
    fn runs(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = status.rsplit(") ").next().and_then(|it| it.chars().next());
        state.is_some_and(|it| it != 'Z')
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            // It hears the end of its input, ends the server and removes the folder.
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Whether a server says its first word on this port.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .is_ok()
        && stream.read_exact(&mut [0; 1]).is_ok()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are free ports");
    listener.local_addr().expect("it has an address").port()
}

/// A folder that nobody has yet.
fn new_folder(prefix: &str) -> PathBuf {
    static N_FOLDERS: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = N_FOLDERS.fetch_add(1, Ordering::SeqCst);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        match fs::create_dir(&folder) {
            Ok(()) => return folder,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{} cannot be created: {error}", folder.display()),
        }
    }
}

/// An empty data folder, made once on a machine (3 s) and copied for every server.
fn template() -> PathBuf {
    let version = run(Command::new(SERVER).arg("--version"));
    let version: String = version
        .chars()
        .filter(|it| it.is_ascii_alphanumeric() || *it == '.')
        .collect();
    let name = format!("btrust-mariadb-template-{}-{version}", user_name());
    let template = std::env::temp_dir().join(&name);
    let lock = std::env::temp_dir().join(name + ".lock");
    let lock = File::create(&lock).expect("the temporary folder takes a file");
    lock.lock().expect("a file can be locked");
    if !template.exists() {
        let folder = new_folder("btrust-mariadb-init");
        run(Command::new("mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db"])
            .arg("--auth-root-authentication-method=normal")
            .arg("--innodb-log-file-size=32M")
            .arg(format!("--user={}", user_name()))
            .arg(format!("--datadir={}", folder.display())));
        // Renamed when it is complete, so that nobody ever copies half of one.
        fs::rename(&folder, &template).expect("a folder can be renamed");
    }
    template
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp")
        .args(["-r", "--sparse=always"])
        .args([from, to]));
}

fn user_name() -> String {
    run(Command::new("id").arg("-un"))
}

/// What a command prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{command:?} does not run ({error}); `apt-get install mariadb-server` brings MariaDB"
        )
    });
    assert!(
        output.status.success(),
        "{command:?} has failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
