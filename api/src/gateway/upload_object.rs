//! `POST /v1/workflows/{id}/objects`

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use poem::{Body, Request, http::header};
use poem_openapi::{
    ApiRequest, ApiResponse, Object, OpenApi,
    param::Path,
    payload::{Binary, Json},
};
use rand::RngExt as _;

use btrust_platform::{
    objects::{ByteStream, ObjectError, ObjectKey, Stored, byte_stream},
    sealing::Sealer,
};
use btrust_schemas::{
    core::Status,
    ids::{ObjectId, WorkflowId},
};

use super::{
    Gateway,
    file::{self, FILE_BYTES_MAX},
    get_workflow::opened,
    picture::{self, HEAD_BYTES_MAX, PIXELS_MAX, SIDE_MAX, Verdict},
};
use crate::{
    access::{Caller, ObjectsWrite},
    refusal::{self, Refused},
    refusals,
};

pub struct UploadObject(pub Arc<Gateway>);

/// Largest picture, in bytes: a photograph of 50 megapixels as a good JPEG.
pub const UPLOAD_BYTES_MAX: u64 = 15 * 1024 * 1024;

#[derive(ApiRequest)]
enum Upload {
    /// A JPEG
    #[oai(content_type = "image/jpeg")]
    Jpeg(Binary<Body>),
    /// A PNG
    #[oai(content_type = "image/png")]
    Png(Binary<Body>),
    /// A WebP
    #[oai(content_type = "image/webp")]
    Webp(Binary<Body>),
    /// A JSON document; by clients only
    #[oai(content_type = "application/json")]
    Json(Binary<Body>),
    /// A JSON value in each line; by clients only
    #[oai(content_type = "application/jsonl")]
    Jsonl(Binary<Body>),
    /// Rows of text in UTF-8; by clients only
    #[oai(content_type = "text/csv")]
    Csv(Binary<Body>),
}

/// What an upload was declared as.
#[derive(Clone, Copy)]
enum Kind {
    /// What an applicant shows of themselves.
    Picture(picture::Kind),
    /// What a bank's client has a `Map` run over.
    File(file::Kind),
}

impl Kind {
    fn media_type(self) -> &'static str {
        match self {
            Self::Picture(it) => it.media_type(),
            Self::File(it) => it.media_type(),
        }
    }

    fn bytes_max(self) -> u64 {
        match self {
            Self::Picture(_) => UPLOAD_BYTES_MAX,
            Self::File(_) => FILE_BYTES_MAX,
        }
    }
}

impl Upload {
    fn opened(self) -> (Kind, Body) {
        let (kind, body) = match self {
            Self::Jpeg(body) => (Kind::Picture(picture::Kind::Jpeg), body),
            Self::Png(body) => (Kind::Picture(picture::Kind::Png), body),
            Self::Webp(body) => (Kind::Picture(picture::Kind::Webp), body),
            Self::Json(body) => (Kind::File(file::Kind::Json), body),
            Self::Jsonl(body) => (Kind::File(file::Kind::Jsonl), body),
            Self::Csv(body) => (Kind::File(file::Kind::Csv), body),
        };
        (kind, body.0)
    }
}

/// Names one stored object and pins its content; send it back as it is.
#[derive(Object)]
#[oai(rename = "ObjectRef", rename_all = "camelCase")]
struct ObjectRefDocument {
    object: String,
    /// SHA-256 of the bytes, 64 hex digits
    sha256: String,
    media_type: String,
    bytes: u64,
}

#[derive(ApiResponse)]
enum UploadObjectResponse {
    /// The reference by which a submission names the object.
    #[oai(status = 201)]
    Created(Json<ObjectRefDocument>),
}

refusals! {
    UploadObjectRefusals {
        UPLOAD_BROKEN = 400 "upload_broken" "the body ended before it was complete, or took too long";
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the token does not open such a workflow";
        WORKFLOW_CLOSED = 409 "workflow_closed" "it has ended; nothing can be added";
        TOO_MANY_UPLOADS = 409 "too_many_uploads"
            "the workflow has as many uploads without a submission as it may have";
        WORKFLOW_ERASED = 410 "workflow_erased" "its data was erased";
        OBJECT_TOO_LARGE = 413 "object_too_large" "a picture has more than 15 MiB, or a file more than 4 MiB";
        MEDIA_TYPE_UNSUPPORTED = 415 "media_type_unsupported"
            "the Content-Type is none of those listed";
        MEDIA_TYPE_MISMATCH = 422 "media_type_mismatch"
            "the content is not of the declared type";
        PICTURE_TOO_LARGE = 422 "picture_too_large"
            "it has more than 50 megapixels or a side above 12,000 pixels";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
        OBJECTS_UNAVAILABLE = 503 "objects_unavailable" "the object store does not answer; try again";
    }
}

type Refusing<T> = Result<T, Refused<UploadObjectRefusals>>;

#[OpenApi]
impl UploadObject {
    /// Uploads a picture (applicants) or a file of items (clients) for a submission of the workflow.
    ///
    /// It is deleted after 24 hours when no submission names it.
    #[oai(
        path = "/v1/workflows/:id/objects",
        method = "post",
        operation_id = "uploadObject"
    )]
    async fn upload_object(
        &self,
        caller: Caller<ObjectsWrite>,
        request: &Request,
        id: Path<String>,
        upload: Upload,
    ) -> Refusing<UploadObjectResponse> {
        let gateway = &self.0;
        let workflow = opened(&caller, &id)?;
        let (kind, body) = upload.opened();
        refuse_strangers(&caller, kind)?;
        let bytes_max = kind.bytes_max();
        let announced = request
            .header(header::CONTENT_LENGTH)
            .and_then(|it| it.parse().ok());
        if announced.is_some_and(|it: u64| bytes_max < it) {
            return Err(too_large(bytes_max));
        }
        let sealer = self.sealer(caller.tenant(), workflow).await?;
        let bytes = match kind {
            Kind::Picture(it) => judged(it, body).await?,
            Kind::File(it) => judged_whole(it, body).await?,
        };

        let random = rand::rng().random();
        let object = ObjectId { workflow, random };
        let key = ObjectKey {
            tenant: caller.tenant().to_owned(),
            workflow,
            object,
        };
        let now_ms = gateway.clock.now_ms();
        if !gateway
            .uploads
            .begin(&key, kind.media_type(), now_ms)
            .await?
        {
            return Err(TOO_MANY_UPLOADS.detail("submit what was uploaded first"));
        }
        let stored = match gateway.objects.put(&key, bytes, &sealer).await {
            Ok(stored) => stored,
            Err(error) => {
                gateway.uploads.forget(object).await?;
                return Err(refuse(error, bytes_max));
            }
        };
        if !gateway.uploads.finish(object, &stored).await? {
            // It took longer than an upload may wait, and the row is gone or going.
            let deleted = gateway.objects.delete(&key).await;
            deleted.map_err(|it| Refused::failed(OBJECTS_UNAVAILABLE, &it))?;
            return Err(UPLOAD_BROKEN.detail("it took too long; send it again"));
        }
        let Stored { bytes, sha256 } = stored;
        let media_type = kind.media_type().to_owned();
        let object = object.to_string();
        let reference = ObjectRefDocument {
            object,
            sha256,
            media_type,
            bytes,
        };
        Ok(UploadObjectResponse::Created(Json(reference)))
    }
}

impl UploadObject {
    /// The key of a workflow that core knows, of this tenant, and open.
    async fn sealer(&self, tenant: &str, workflow: WorkflowId) -> Refusing<Arc<Sealer>> {
        let gateway = &self.0;
        let view = gateway.core.workflow(tenant, workflow).await?;
        if view.status != Status::Running {
            return Err(WORKFLOW_CLOSED.detail("the workflow has ended"));
        }
        let sealer = gateway.workflow_keys.sealer(tenant, workflow).await;
        let sealer = sealer.map_err(|it| Refused::failed(OBJECTS_UNAVAILABLE, &it))?;
        sealer.ok_or_else(|| WORKFLOW_ERASED.detail("the data of the workflow was erased"))
    }
}

/// An applicant's token uploads pictures, a client's files.
fn refuse_strangers(caller: &Caller<ObjectsWrite>, kind: Kind) -> Refusing<()> {
    match (kind, caller.own_workflow()) {
        (Kind::Picture(_), Some(_)) | (Kind::File(_), None) => Ok(()),
        (Kind::Picture(_), None) => {
            Err(refusal::SCOPE_MISSING.detail("only an applicant's token uploads pictures"))
        }
        (Kind::File(_), Some(_)) => {
            Err(refusal::SCOPE_MISSING.detail("only a client's token uploads files"))
        }
    }
}

/// Judges a file by all of its bytes, of which there are few.
async fn judged_whole(kind: file::Kind, body: Body) -> Refusing<ByteStream> {
    let mut pieces = Box::pin(limited(body.into_bytes_stream(), FILE_BYTES_MAX));
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|it| refuse_source(it, FILE_BYTES_MAX))?;
        bytes.extend_from_slice(&piece);
    }
    if !kind.fits(&bytes) {
        return Err(mismatch(kind.media_type()));
    }
    Ok(byte_stream(bytes.freeze()))
}

/// Judges a picture by its first bytes, of which at most [`HEAD_BYTES_MAX`] and
/// one chunk are held, and gives back all of its bytes, limited.
async fn judged(kind: picture::Kind, body: Body) -> Refusing<ByteStream> {
    let mut rest = Box::pin(limited(body.into_bytes_stream(), UPLOAD_BYTES_MAX));
    let mut head = BytesMut::new();
    // Looked at whenever it has doubled: the work stays linear.
    let mut look_at = 1;
    let verdict = loop {
        let is_all = match rest.next().await {
            Some(chunk) => {
                let chunk = chunk.map_err(|it| refuse_source(it, UPLOAD_BYTES_MAX))?;
                head.extend_from_slice(&chunk);
                false
            }
            None => true,
        };
        if !is_all && head.len() < look_at && head.len() < HEAD_BYTES_MAX {
            continue;
        }
        look_at = head.len() * 2;
        match picture::judge(kind, &head, is_all) {
            Verdict::NeedsMore => {}
            verdict => break verdict,
        }
    };
    match verdict {
        Verdict::Fine { .. } => {}
        Verdict::TooLarge { width, height } => {
            let detail =
                format!("{width} x {height} pixels; at most {PIXELS_MAX} and {SIDE_MAX} on a side");
            return Err(PICTURE_TOO_LARGE.detail(detail));
        }
        Verdict::OtherContent | Verdict::NeedsMore => {
            return Err(mismatch(kind.media_type()));
        }
    }
    Ok(Box::pin(stream::iter([Ok(head.freeze())]).chain(rest)))
}

/// The same bytes, failing once there are more than `bytes_max`.
fn limited(
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    bytes_max: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let mut left = bytes_max;
    body.map(move |chunk| {
        let chunk = chunk?;
        match left.checked_sub(chunk.len() as u64) {
            Some(it) => left = it,
            None => return Err(io::Error::from(io::ErrorKind::FileTooLarge)),
        }
        Ok(chunk)
    })
}

fn mismatch(media_type: &str) -> Refused<UploadObjectRefusals> {
    MEDIA_TYPE_MISMATCH.detail(format!("the content is not {media_type}"))
}

fn too_large(bytes_max: u64) -> Refused<UploadObjectRefusals> {
    OBJECT_TOO_LARGE.detail(format!("at most {bytes_max} bytes"))
}

fn refuse_source(error: io::Error, bytes_max: u64) -> Refused<UploadObjectRefusals> {
    match error.kind() {
        io::ErrorKind::FileTooLarge => too_large(bytes_max),
        _ => UPLOAD_BROKEN.detail("send it again"),
    }
}

fn refuse(error: ObjectError, bytes_max: u64) -> Refused<UploadObjectRefusals> {
    match error {
        ObjectError::Source(error) => refuse_source(error, bytes_max),
        ObjectError::TooLarge => too_large(bytes_max),
        ObjectError::Erased => WORKFLOW_ERASED.detail("the data of the workflow was erased"),
        ObjectError::Unavailable(_) => Refused::failed(OBJECTS_UNAVAILABLE, &error),
        ObjectError::Missing | ObjectError::Tampered(_) | ObjectError::OtherContent => {
            Refused::failed(refusal::INTERNAL, &error)
        }
    }
}
