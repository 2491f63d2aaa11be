//! The models: which files, from which packages, under which licences, and how
//! they become what the workers load.

mod download;
pub mod fetch;
mod flatbuffer;
pub mod fold;
pub mod onnx;
pub mod progress;
pub mod tflite;

pub use fetch::{FetchError, Fetched, fetch};
pub use progress::{Progress, standard_error};

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    geometry::Rect,
    picture::{Picture, PictureError},
};

/// The manifest that ships with the program.
const SHIPPED: &str = include_str!("../../models.json");

/// What a file is for. A bank replaces a model by its own by naming the file
/// under the same role in a manifest of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The ONNX Runtime library.
    Runtime,
    /// Faces with five points (`YuNet`).
    FaceDetection,
    /// A face as 128 numbers (`SFace`).
    FaceEmbedding,
    /// 478 points on a face.
    FaceMesh,
    /// 52 expressions of a face, from its points.
    FaceBlendshapes,
    /// Yaw, pitch and roll from pixels; a second opinion on the mesh.
    HeadPose,
    /// Whether an eye is open, from pixels; a second opinion on the mesh.
    EyeState,
    /// Passive presentation attack detection; one weak signal.
    Pad,
    /// Where text lines are.
    TextDetection,
    /// What a text line says.
    TextRecognition,
    /// The demo's applicant; never part of what a bank runs.
    DemoApplicant,
    /// The demo's other person; never part of what a bank runs.
    DemoOther,
}

impl Role {
    /// The roles that are run as ONNX models.
    pub const MODELS: [Self; 9] = [
        Self::FaceDetection,
        Self::FaceEmbedding,
        Self::FaceMesh,
        Self::FaceBlendshapes,
        Self::HeadPose,
        Self::EyeState,
        Self::Pad,
        Self::TextDetection,
        Self::TextRecognition,
    ];

    /// The name in manifests, logs and results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::FaceDetection => "face-detection",
            Self::FaceEmbedding => "face-embedding",
            Self::FaceMesh => "face-mesh",
            Self::FaceBlendshapes => "face-blendshapes",
            Self::HeadPose => "head-pose",
            Self::EyeState => "eye-state",
            Self::Pad => "pad",
            Self::TextDetection => "text-detection",
            Self::TextRecognition => "text-recognition",
            Self::DemoApplicant => "demo-applicant",
            Self::DemoOther => "demo-other",
        }
    }

    /// The file's name in the folder of models.
    #[must_use]
    pub fn file_name(self) -> String {
        let extension = match self {
            Self::Runtime => "so",
            Self::DemoApplicant => "png",
            Self::DemoOther => "jpg",
            _ => "onnx",
        };
        format!("{}.{extension}", self.as_str())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which files are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// What the workers run.
    Models,
    /// The pictures of the applicant simulator.
    Demo,
}

/// Where a package comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageKind {
    /// A wheel, by `pip download`.
    Pypi,
    /// A tarball, by `npm pack`.
    Npm,
    /// A zip file that an operator put at the path `name`.
    File,
}

/// A package that holds files, pinned by hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    pub kind: PackageKind,
    pub name: String,
    pub version: String,
    /// The platform tags of a wheel that is not for every machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// The Python version of a wheel that is not for every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// The file that the client stores.
    pub archive: String,
    pub bytes: u64,
    pub sha256: String,
}

/// How a packaged file becomes the stored one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transformation {
    None,
    /// See [`fold::fold_dequantize`].
    FoldDequantize,
    /// The same, and the height and width of the input become free.
    FoldDequantizeAnySize,
    /// See [`tflite::to_onnx`].
    TfliteToOnnx,
}

/// One file in a package, and what it becomes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelFile {
    pub role: Role,
    pub group: Group,
    /// What it is, for people.
    pub title: String,
    /// The name of an entry of `packages`.
    pub package: String,
    pub path: String,
    /// The file inside `path` where that is itself a zip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Of the innermost file, before the transformation.
    pub sha256: String,
    pub licence: String,
    pub transformation: Transformation,
    /// Of the stored file.
    pub stored_sha256: String,
    /// Who made a picture, and who is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<String>,
    /// The part of a picture that shows the one person meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Rect>,
}

/// All files and where they come from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub packages: Vec<Package>,
    pub files: Vec<ModelFile>,
}

/// A manifest that contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest is not valid JSON for a manifest")]
    Syntax(#[from] serde_json::Error),
    #[error("the manifest's file `{role}` names the package `{package}`, which it does not list")]
    UnknownPackage { role: Role, package: String },
    #[error("the manifest names the role `{role}` twice")]
    DoubleRole { role: Role },
    #[error("the manifest's package `{package}` has an archive name with a folder in it")]
    ArchiveName { package: String },
}

/// Why a demo picture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DemoPictureError {
    #[error("the picture `{role}` is missing; run `btrust models fetch`")]
    Missing {
        role: Role,
        #[source]
        source: std::io::Error,
    },
    #[error("the picture `{role}` cannot be decoded")]
    Picture {
        role: Role,
        #[source]
        source: PictureError,
    },
}

impl Manifest {
    /// The manifest that ships with the program.
    ///
    /// # Panics
    ///
    /// Never: a test reads the shipped manifest.
    #[must_use]
    pub fn shipped() -> Self {
        Self::parse(SHIPPED).expect("a test reads the shipped manifest")
    }

    /// Reads a manifest, for an operator who brings models of their own.
    ///
    /// # Errors
    ///
    /// The text is no manifest, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_str(text)?;
        for package in &manifest.packages {
            if package.archive.contains(['/', '\\']) || package.archive.starts_with('.') {
                return Err(ManifestError::ArchiveName {
                    package: package.name.clone(),
                });
            }
        }
        for (index, file) in manifest.files.iter().enumerate() {
            if manifest.package(&file.package).is_none() {
                return Err(ManifestError::UnknownPackage {
                    role: file.role,
                    package: file.package.clone(),
                });
            }
            if manifest.files[..index]
                .iter()
                .any(|it| it.role == file.role)
            {
                return Err(ManifestError::DoubleRole { role: file.role });
            }
        }
        Ok(manifest)
    }

    #[must_use]
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|it| it.name == name)
    }

    #[must_use]
    pub fn file(&self, role: Role) -> Option<&ModelFile> {
        self.files.iter().find(|it| it.role == role)
    }

    /// The files of a group, in the manifest's order.
    pub fn files_of(&self, group: Group) -> impl Iterator<Item = &ModelFile> {
        self.files.iter().filter(move |it| it.group == group)
    }

    /// A fetched demo picture, cut to the one person meant.
    ///
    /// # Errors
    ///
    /// It was not fetched, or is not a picture.
    pub fn demo_picture(&self, dir: &Path, role: Role) -> Result<Picture, DemoPictureError> {
        let bytes = std::fs::read(dir.join(role.file_name()))
            .map_err(|source| DemoPictureError::Missing { role, source })?;
        let picture =
            Picture::decode(&bytes).map_err(|source| DemoPictureError::Picture { role, source })?;
        let region = self.file(role).and_then(|it| it.region);
        Ok(region.and_then(|it| picture.crop(it)).unwrap_or(picture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_manifest_names_every_role_that_is_run() {
        let manifest = Manifest::shipped();
        for role in Role::MODELS.into_iter().chain([Role::Runtime]) {
            assert_eq!(
                manifest.file(role).map(|it| it.group),
                Some(Group::Models),
                "{role}"
            );
        }
        for role in [Role::DemoApplicant, Role::DemoOther] {
            let file = manifest.file(role).expect("a demo picture");
            assert_eq!(file.group, Group::Demo);
            assert!(file.credit.is_some(), "{role} credits nobody");
        }
    }

    #[test]
    fn a_file_of_an_unlisted_package_is_refused() {
        let mut manifest = Manifest::shipped();
        manifest.packages.remove(0);
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(matches!(
            Manifest::parse(&text),
            Err(ManifestError::UnknownPackage { .. })
        ));
    }

    #[test]
    fn an_archive_name_cannot_climb_out_of_the_folder() {
        let mut manifest = Manifest::shipped();
        manifest.packages[0].archive = "../../etc/passwd".to_owned();
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(matches!(
            Manifest::parse(&text),
            Err(ManifestError::ArchiveName { .. })
        ));
    }
}
