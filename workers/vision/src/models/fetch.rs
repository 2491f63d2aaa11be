//! Brings the files of a manifest into a folder: download with the registry's
//! own client, verify, take out, transform, verify, store.
//!
//! A run that was interrupted goes on where it stopped: packages that were
//! downloaded whole are kept until all their files are stored. A second run at
//! the same time waits for the first. When everything is there, a run reads
//! nothing but sizes and times.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Group, Manifest, ModelFile, Package, PackageKind, Role, Transformation,
    download::{self, DownloadError},
    fold::{InputSize, fold_dequantize},
    onnx::OnnxError,
    progress::{Progress, megabytes},
    tflite,
};

/// Largest file that is taken out of a package, 512 MiB; the largest that ships
/// has 35 MB, and a certified model of a bank may be larger.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Held while a fetch runs.
const LOCK_FILE: &str = ".fetch.lock";
/// What was verified, so that the next run need not read it again.
const STAMPS_FILE: &str = ".verified.json";
/// Packages on their way.
const DOWNLOADS_DIR: &str = "downloads";

/// Why a model could not be fetched; each text names the package and what to
/// do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(
        "the package `{package}` has the SHA-256 {found}, not {expected}; it was deleted: fetch again, and if it stays so, the registry or a proxy changed it"
    )]
    PackageHash {
        package: String,
        expected: String,
        found: String,
    },
    #[error("the package `{package}` holds no `{path}`; the manifest is wrong about it")]
    NotInPackage { package: String, path: String },
    #[error("the package `{package}` cannot be unpacked")]
    Damaged {
        package: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "`{path}` of the package `{package}` has the SHA-256 {found}, not {expected}; the manifest is wrong about it"
    )]
    FileHash {
        package: String,
        path: String,
        expected: String,
        found: String,
    },
    #[error("the model `{role}` of the package `{package}` cannot be transformed")]
    Transformation {
        role: Role,
        package: String,
        #[source]
        source: OnnxError,
    },
    #[error(
        "the transformed model `{role}` has the SHA-256 {found}, not {expected}; this version of the program transforms it differently than its manifest says"
    )]
    StoredHash {
        role: Role,
        expected: String,
        found: String,
    },
    #[error("cannot write to {path}; free the disk or choose another folder for models")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// What a fetch did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fetched {
    /// Files that were already there.
    pub n_present: usize,
    /// Files that were stored now.
    pub n_stored: usize,
}

/// A verified file as it lay on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stamp {
    sha256: String,
    bytes: u64,
    modified_ns: u64,
}

/// Brings the files of `groups` into `dir`.
///
/// # Errors
///
/// The first thing that went wrong; run again after mending it, nothing that
/// was verified is downloaded twice.
pub fn fetch(
    manifest: &Manifest,
    dir: &Path,
    groups: &[Group],
    progress: &mut dyn Progress,
) -> Result<Fetched, FetchError> {
    let folder = |source| FetchError::Folder {
        path: dir.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(folder)?;
    let _lock = lock(dir, progress).map_err(folder)?;
    let mut stamps = read_stamps(dir);
    let wanted: Vec<&ModelFile> = manifest
        .files
        .iter()
        .filter(|it| groups.contains(&it.group))
        .collect();
    let mut missing = Vec::new();
    for file in &wanted {
        if !is_present(dir, file, &mut stamps).map_err(folder)? {
            missing.push(*file);
        }
    }
    let packages: Vec<&Package> = manifest
        .packages
        .iter()
        .filter(|package| missing.iter().any(|it| it.package == package.name))
        .collect();
    if !missing.is_empty() {
        progress.started(packages.iter().map(|it| it.bytes).sum());
    }
    let mut reached = 0;
    for package in packages {
        let archive = bring(package, dir, reached, progress)?;
        reached += package.bytes;
        progress.reached(reached);
        for file in missing.iter().filter(|it| it.package == package.name) {
            progress.step(&format!("storing {} ({})", file.role, file.title));
            let bytes = produce(package, &archive, file)?;
            let stamp = store(dir, file, &bytes).map_err(folder)?;
            stamps.insert(file.role.as_str().to_owned(), stamp);
            write_stamps(dir, &stamps).map_err(folder)?;
        }
        if package.kind != PackageKind::File {
            fs::remove_file(&archive).map_err(folder)?;
        }
    }
    let downloads = dir.join(DOWNLOADS_DIR);
    if downloads.exists() {
        fs::remove_dir_all(downloads).map_err(folder)?;
    }
    progress.finished();
    write_stamps(dir, &stamps).map_err(folder)?;
    Ok(Fetched {
        n_present: wanted.len() - missing.len(),
        n_stored: missing.len(),
    })
}

/// Waits until no other fetch works on the folder; dropping the file ends it.
fn lock(dir: &Path, progress: &mut dyn Progress) -> std::io::Result<File> {
    let path = dir.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    if file.try_lock().is_err() {
        progress.step("waiting for another fetch into this folder");
        file.lock()?;
    }
    Ok(file)
}

/// Stamps that cannot be read are none: the files are then hashed again.
fn read_stamps(dir: &Path) -> BTreeMap<String, Stamp> {
    fs::read(dir.join(STAMPS_FILE))
        .ok()
        .and_then(|it| serde_json::from_slice(&it).ok())
        .unwrap_or_default()
}

fn write_stamps(dir: &Path, stamps: &BTreeMap<String, Stamp>) -> std::io::Result<()> {
    if read_stamps(dir) == *stamps {
        return Ok(());
    }
    let text = serde_json::to_vec_pretty(stamps).expect("texts and numbers are JSON");
    write_atomically(&dir.join(STAMPS_FILE), &text)
}

/// Whether the stored file is the wanted one: by its stamp, else by its hash.
fn is_present(
    dir: &Path,
    file: &ModelFile,
    stamps: &mut BTreeMap<String, Stamp>,
) -> std::io::Result<bool> {
    let path = dir.join(file.role.file_name());
    if !path.is_file() {
        return Ok(false);
    }
    let (bytes, modified_ns) = size_and_time(&path)?;
    if let Some(stamp) = stamps.get(file.role.as_str())
        && stamp.bytes == bytes
        && stamp.modified_ns == modified_ns
    {
        return Ok(stamp.sha256 == file.stored_sha256);
    }
    let sha256 = sha256_of(&path)?;
    let is_wanted = sha256 == file.stored_sha256;
    stamps.insert(
        file.role.as_str().to_owned(),
        Stamp {
            sha256,
            bytes,
            modified_ns,
        },
    );
    Ok(is_wanted)
}

fn size_and_time(path: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    let modified = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok((
        metadata.len(),
        u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX),
    ))
}

fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

/// The verified archive of a package, downloaded if it is not there yet.
fn bring(
    package: &Package,
    dir: &Path,
    reached: u64,
    progress: &mut dyn Progress,
) -> Result<PathBuf, FetchError> {
    let downloads = dir.join(DOWNLOADS_DIR);
    let folder = |source| FetchError::Folder {
        path: downloads.clone(),
        source,
    };
    let archive = match package.kind {
        PackageKind::File => PathBuf::from(&package.name),
        PackageKind::Pypi | PackageKind::Npm => downloads.join(&package.archive),
    };
    if package.kind != PackageKind::File && !archive.exists() {
        fs::create_dir_all(&downloads).map_err(folder)?;
        let (name, version) = (&package.name, &package.version);
        progress.step(&format!(
            "downloading {name} {version} ({:.1} MB)",
            megabytes(package.bytes)
        ));
        download::download(package, &downloads, &mut |bytes| {
            progress.reached(reached + bytes);
        })?;
    }
    let found = sha256_of(&archive).map_err(|source| FetchError::Folder {
        path: archive.clone(),
        source,
    })?;
    if found == package.sha256 {
        return Ok(archive);
    }
    if package.kind != PackageKind::File {
        fs::remove_file(&archive).map_err(folder)?;
    }
    Err(FetchError::PackageHash {
        package: package.name.clone(),
        expected: package.sha256.clone(),
        found,
    })
}

/// A file taken out of its package, verified, transformed and verified again.
fn produce(package: &Package, archive: &Path, file: &ModelFile) -> Result<Vec<u8>, FetchError> {
    let damaged = |source| FetchError::Damaged {
        package: package.name.clone(),
        source,
    };
    let not_there = |path: &str| FetchError::NotInPackage {
        package: package.name.clone(),
        path: path.to_owned(),
    };
    let reader = File::open(archive).map_err(|source| FetchError::Folder {
        path: archive.to_owned(),
        source,
    })?;
    let bytes = match package.kind {
        PackageKind::Npm => member_of_tar(reader, &file.path),
        PackageKind::Pypi | PackageKind::File => member_of_zip(reader, &file.path),
    };
    let mut bytes = bytes
        .map_err(damaged)?
        .ok_or_else(|| not_there(&file.path))?;
    if let Some(member) = &file.member {
        let inner = member_of_zip(std::io::Cursor::new(bytes), member);
        bytes = inner.map_err(damaged)?.ok_or_else(|| not_there(member))?;
    }
    let found = hex::encode(Sha256::digest(&bytes));
    if found != file.sha256 {
        return Err(FetchError::FileHash {
            package: package.name.clone(),
            path: file.path.clone(),
            expected: file.sha256.clone(),
            found,
        });
    }
    let transformed = match file.transformation {
        Transformation::None => Ok(bytes),
        Transformation::FoldDequantize => fold_dequantize(&bytes, InputSize::AsShipped),
        Transformation::FoldDequantizeAnySize => fold_dequantize(&bytes, InputSize::Any),
        Transformation::TfliteToOnnx => tflite::to_onnx(&bytes),
    }
    .map_err(|source| FetchError::Transformation {
        role: file.role,
        package: package.name.clone(),
        source,
    })?;
    let found = hex::encode(Sha256::digest(&transformed));
    if found != file.stored_sha256 {
        let expected = file.stored_sha256.clone();
        return Err(FetchError::StoredHash {
            role: file.role,
            expected,
            found,
        });
    }
    Ok(transformed)
}

type Unpacked = Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>;

fn member_of_zip(reader: impl Read + std::io::Seek, path: &str) -> Unpacked {
    let mut archive = zip::ZipArchive::new(reader)?;
    match archive.by_name(path) {
        Ok(member) => read_limited(member).map(Some),
        Err(zip::result::ZipError::FileNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn member_of_tar(reader: impl Read, path: &str) -> Unpacked {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(reader));
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path()?.as_os_str() == path {
            return read_limited(entry).map(Some);
        }
    }
    Ok(None)
}

fn read_limited(reader: impl Read) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if FILE_BYTES_MAX < bytes.len() as u64 {
        return Err("a file in the package is larger than 512 MiB".into());
    }
    Ok(bytes)
}

fn store(dir: &Path, file: &ModelFile, bytes: &[u8]) -> std::io::Result<Stamp> {
    let path = dir.join(file.role.file_name());
    write_atomically(&path, bytes)?;
    let (bytes, modified_ns) = size_and_time(&path)?;
    Ok(Stamp {
        sha256: file.stored_sha256.clone(),
        bytes,
        modified_ns,
    })
}

/// Readers see the old file or the whole new one.
fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(partial, path)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::models::progress::Silent;

    /// A manifest with one package on disk that holds `astronaut.txt`.
    fn local(dir: &Path) -> Manifest {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .start_file("data/picture.txt", zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(b"not really a picture").unwrap();
        let archive = writer.finish().unwrap().into_inner();
        let path = dir.join("own-models.zip");
        fs::write(&path, &archive).unwrap();
        let sha256 = hex::encode(Sha256::digest(b"not really a picture"));
        Manifest {
            packages: vec![Package {
                kind: PackageKind::File,
                name: path.to_str().unwrap().to_owned(),
                version: "1".to_owned(),
                platforms: Vec::new(),
                python: None,
                archive: "own-models.zip".to_owned(),
                bytes: archive.len() as u64,
                sha256: hex::encode(Sha256::digest(&archive)),
            }],
            files: vec![ModelFile {
                role: Role::DemoApplicant,
                group: Group::Demo,
                title: "a text".to_owned(),
                package: path.to_str().unwrap().to_owned(),
                path: "data/picture.txt".to_owned(),
                member: None,
                sha256: sha256.clone(),
                licence: "MIT".to_owned(),
                transformation: Transformation::None,
                stored_sha256: sha256,
                credit: None,
                region: None,
            }],
        }
    }

    fn run(manifest: &Manifest, dir: &Path) -> Result<Fetched, FetchError> {
        fetch(manifest, dir, &[Group::Demo], &mut Silent)
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let manifest = local(source.path());
        assert_eq!(
            run(&manifest, dir.path()).unwrap(),
            Fetched {
                n_present: 0,
                n_stored: 1
            }
        );
        // Without its package a second run can only succeed by doing nothing.
        fs::remove_file(&manifest.packages[0].name).unwrap();
        assert_eq!(
            run(&manifest, dir.path()).unwrap(),
            Fetched {
                n_present: 1,
                n_stored: 0
            }
        );
        assert!(!dir.path().join(DOWNLOADS_DIR).exists());
    }

    #[test]
    fn a_file_that_was_changed_is_stored_anew() {
        let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let manifest = local(source.path());
        run(&manifest, dir.path()).unwrap();
        let path = dir.path().join(Role::DemoApplicant.file_name());
        fs::write(&path, b"tampered with").unwrap();
        assert_eq!(run(&manifest, dir.path()).unwrap().n_stored, 1);
        assert_eq!(fs::read(path).unwrap(), b"not really a picture");
    }

    #[test]
    fn lost_stamps_cost_a_hash_and_no_download() {
        let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let manifest = local(source.path());
        run(&manifest, dir.path()).unwrap();
        fs::write(dir.path().join(STAMPS_FILE), b"{ half a fi").unwrap();
        fs::remove_file(&manifest.packages[0].name).unwrap();
        assert_eq!(run(&manifest, dir.path()).unwrap().n_present, 1);
    }

    #[test]
    fn a_package_with_another_hash_is_refused() {
        let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut manifest = local(source.path());
        manifest.packages[0].sha256 = "00".repeat(32);
        assert!(matches!(
            run(&manifest, dir.path()),
            Err(FetchError::PackageHash { .. })
        ));
        assert!(!dir.path().join(Role::DemoApplicant.file_name()).exists());
    }

    #[test]
    fn a_file_that_is_not_in_the_package_is_named() {
        let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut manifest = local(source.path());
        manifest.files[0].path = "data/other.txt".to_owned();
        let error = run(&manifest, dir.path()).unwrap_err();
        assert!(error.to_string().contains("data/other.txt"), "{error}");
    }

    #[test]
    fn a_file_that_does_not_transform_is_named() {
        let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut manifest = local(source.path());
        manifest.files[0].transformation = Transformation::TfliteToOnnx;
        assert!(matches!(
            run(&manifest, dir.path()),
            Err(FetchError::Transformation { .. })
        ));
    }

    #[test]
    fn two_fetches_at_once_store_each_file_once() {
        let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let manifest = local(source.path());
        let results: Vec<Fetched> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| run(&manifest, dir.path()).unwrap()))
                .collect();
            runs.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert_eq!(results.iter().map(|it| it.n_stored).sum::<usize>(), 1);
    }
}
