//! Downloads one package with the registry's own client.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Package, PackageKind};

/// How often the bytes on disk are counted while a client runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How much of a client's complaint is repeated, in bytes.
const COMPLAINT_BYTES_MAX: usize = 1500;

/// Why a package did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("`{package}` needs `{tool}`, which is not installed: {fix}")]
    ToolMissing {
        package: String,
        tool: &'static str,
        fix: &'static str,
    },
    #[error(
        "`{tool}` could not download `{package}` {version}; check the network and the client's settings: {complaint}"
    )]
    Failed {
        package: String,
        version: String,
        tool: &'static str,
        complaint: String,
    },
    #[error(
        "`{tool}` ended well but did not leave `{archive}` of `{package}`; the registry may offer another file now"
    )]
    OtherFile {
        package: String,
        tool: &'static str,
        archive: String,
    },
    #[error("cannot run `{tool}` for `{package}`")]
    Run {
        package: String,
        tool: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Stores a package's archive in `downloads`; `reached` hears how many bytes
/// are there.
pub(super) fn download(
    package: &Package,
    downloads: &Path,
    reached: &mut dyn FnMut(u64),
) -> Result<(), DownloadError> {
    let tool = match package.kind {
        PackageKind::Pypi => "pip",
        PackageKind::Npm | PackageKind::File => "npm",
    };
    let failed = |source| DownloadError::Run {
        package: package.name.clone(),
        tool,
        source,
    };
    // Not the final name until the client is done, so that a file under it is whole.
    let partial = downloads.join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(failed)?;
    }
    let scratch = partial.join("scratch");
    fs::create_dir_all(&scratch).map_err(failed)?;
    let mut command = match package.kind {
        PackageKind::Pypi => pip(package, &partial)?,
        PackageKind::Npm | PackageKind::File => npm(package, &partial)?,
    };
    let child = command
        .env("TMPDIR", &scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let complaint = watch(child, &partial, package.bytes, reached).map_err(failed)?;
    if let Some(complaint) = complaint {
        return Err(DownloadError::Failed {
            package: package.name.clone(),
            version: package.version.clone(),
            tool,
            complaint,
        });
    }
    fs::rename(
        partial.join(&package.archive),
        downloads.join(&package.archive),
    )
    .map_err(|_| DownloadError::OtherFile {
        package: package.name.clone(),
        tool,
        archive: package.archive.clone(),
    })?;
    fs::remove_dir_all(partial).map_err(failed)
}

fn pip(package: &Package, dir: &Path) -> Result<Command, DownloadError> {
    let works = |program: &str, first: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(first)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|it| it.success())
    };
    let mut command = if works("python3", &["-m", "pip"]) {
        let mut command = Command::new("python3");
        command.args(["-m", "pip"]);
        command
    } else if works("pip3", &[]) {
        Command::new("pip3")
    } else {
        return Err(DownloadError::ToolMissing {
            package: package.name.clone(),
            tool: "pip",
            fix: "apt-get install python3-pip",
        });
    };
    command.args([
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]);
    command
        .args(["--no-deps", "--only-binary=:all:", "--dest"])
        .arg(dir);
    if let Some(python) = &package.python {
        command.args(["--python-version", python]);
    }
    for platform in &package.platforms {
        command.args(["--platform", platform]);
    }
    command.arg(format!("{}=={}", package.name, package.version));
    Ok(command)
}

fn npm(package: &Package, dir: &Path) -> Result<Command, DownloadError> {
    let installed = Command::new("npm")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success());
    if !installed {
        return Err(DownloadError::ToolMissing {
            package: package.name.clone(),
            tool: "npm",
            fix: "apt-get install npm",
        });
    }
    let mut command = Command::new("npm");
    command
        .args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(dir);
    command
        .arg(format!("{}@{}", package.name, package.version))
        .current_dir(dir);
    Ok(command)
}

/// Waits for a client and reports bytes; returns its complaint if it failed.
fn watch(
    mut child: Child,
    partial: &Path,
    bytes_total: u64,
    reached: &mut dyn FnMut(u64),
) -> std::io::Result<Option<String>> {
    let mut pipe = child.stderr.take();
    // Read on a thread of its own, so that a talkative client never blocks.
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(pipe) = &mut pipe {
            // What cannot be read is not repeated; the exit status still counts.
            let _ = pipe.read_to_end(&mut text);
        }
        text
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        reached(bytes_below(partial).min(bytes_total));
        std::thread::sleep(LOOK_EVERY);
    };
    let text = reader.join().unwrap_or_default();
    if status.success() {
        return Ok(None);
    }
    let tail = &text[text.len().saturating_sub(COMPLAINT_BYTES_MAX)..];
    Ok(Some(format!(
        "{status}: {}",
        String::from_utf8_lossy(tail).trim()
    )))
}

/// The bytes of all files below a folder; what vanishes meanwhile counts not.
fn bytes_below(dir: &Path) -> u64 {
    let mut folders: Vec<PathBuf> = vec![dir.to_owned()];
    let mut total = 0;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => total += metadata.len(),
                Err(_) => {}
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Option<String> {
        let child = Command::new("sh")
            .args(["-c", script])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        watch(child, Path::new("nowhere"), 10, &mut |_| {}).unwrap()
    }

    #[test]
    fn a_client_that_fails_is_quoted() {
        let complaint = run("echo 'no matching distribution' >&2; exit 3").unwrap();
        assert!(
            complaint.contains("no matching distribution") && complaint.contains('3'),
            "{complaint}"
        );
    }

    #[test]
    fn a_client_that_ends_well_leaves_no_complaint() {
        assert_eq!(run("echo 'a warning' >&2"), None);
    }

    #[test]
    fn a_long_complaint_does_not_block_the_client() {
        let complaint = run("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1").unwrap();
        assert!(complaint.len() < 2 * COMPLAINT_BYTES_MAX);
    }
}
