use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat};
use poem::{Body, Endpoint, Response, http::StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use btrust_schemas::{core::Status, ids::WorkflowId, turn::Audience};

use super::world::{World, assert_problem, world};
use crate::gateway::{FILE_BYTES_MAX, UNNAMED_TTL_MS, UPLOAD_BYTES_MAX};

fn picture(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(640, 480)
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

/// A body that comes in small pieces and does not say how long it is.
fn streamed(bytes: Vec<u8>) -> Body {
    let pieces: Vec<_> = bytes
        .chunks(1_000)
        .map(|it| Ok::<_, std::io::Error>(it.to_vec()))
        .collect();
    Body::from_bytes_stream(futures_util::stream::iter(pieces))
}

impl<E: Endpoint<Output = Response>> World<E> {
    async fn upload(
        &self,
        token: &str,
        workflow: WorkflowId,
        media_type: &str,
        body: Body,
    ) -> (StatusCode, Value) {
        let request = self
            .client
            .post(format!("/v1/workflows/{workflow}/objects"));
        let request = request.header("authorization", format!("Bearer {token}"));
        let response = request.content_type(media_type).body(body).send().await;
        let status = response.0.status();
        (status, response.json().await.value().deserialize())
    }

    /// How many files the object store holds, whatever they are.
    fn n_objects(&self) -> usize {
        fn count(folder: &Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else {
                return 0;
            };
            let paths = entries.map(|it| it.unwrap().path());
            paths
                .map(|it| if it.is_dir() { count(&it) } else { 1 })
                .sum()
        }
        count(&self.folder.path().join("objects"))
    }
}

#[tokio::test]
async fn a_picture_is_stored_sealed_and_a_submission_may_name_it() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    for (media_type, format) in [
        ("image/jpeg", ImageFormat::Jpeg),
        ("image/png", ImageFormat::Png),
        ("image/webp", ImageFormat::WebP),
    ] {
        let bytes = picture(format);
        let (status, stored) = world
            .upload(&applicant, id, media_type, streamed(bytes.clone()))
            .await;
        assert_eq!(status, StatusCode::CREATED, "{stored}");
        assert_eq!(stored["mediaType"], media_type);
        assert_eq!(stored["bytes"], bytes.len());
        assert_eq!(stored["sha256"], hex::encode(Sha256::digest(&bytes)));
        assert!(stored["object"].as_str().unwrap().contains(&id.hex()));

        let number = u32::try_from(bytes.len()).unwrap();
        let prompt = world.ask(id, number, "liveness", Audience::Applicant);
        let frame = json!({ "action": "front", "picture": stored });
        let body = json!({ "action": "frames", "nonce": "0".repeat(32), "frames": [frame] });
        let path = format!("/v1/prompts/{prompt}/submissions");
        let (status, taken) = world.post(&path, &applicant, json!({ "body": body })).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{taken}");
    }
    assert_eq!(world.n_objects(), 3);
}

#[tokio::test]
async fn a_client_uploads_a_file_and_answers_with_it_for_the_portal() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    for (number, (media_type, content)) in (1..).zip([
        ("application/json", "[{\"id\":1}]"),
        ("application/jsonl", "{\"id\":1}\n{\"id\":2}\n"),
        ("text/csv", "\u{feff}id,name\r\n1,\"Levi, Noa\"\r\n"),
    ]) {
        let (status, stored) = world
            .upload(&bank, id, media_type, streamed(content.into()))
            .await;
        assert_eq!(status, StatusCode::CREATED, "{stored}");
        assert_eq!(stored["mediaType"], media_type);
        assert_eq!(stored["bytes"], content.len());
        assert_eq!(stored["sha256"], hex::encode(Sha256::digest(content)));

        let prompt = world.ask(id, number, "form", Audience::Portal);
        let path = format!("/v1/prompts/{prompt}/submissions");
        let body = json!({ "values": { "file": stored } });
        let (status, taken) = world.post(&path, &bank, json!({ "body": body })).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{taken}");
    }
    // The submissions have named them: they stay.
    world.clock.advance(UNNAMED_TTL_MS);
    assert_eq!(world.gateway.sweep().await.unwrap(), 0);
    assert_eq!(world.n_objects(), 3);
}

#[tokio::test]
async fn files_are_for_clients_and_have_limits_of_their_own() {
    let world = world().await;
    let (bank, other_bank) = (world.bank().await, world.other_bank().await);
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let file = || streamed(b"[1]".to_vec());
    for media_type in ["application/json", "application/jsonl", "text/csv"] {
        let (status, body) = world.upload(&applicant, id, media_type, file()).await;
        assert_problem(status, &body, (403, "scope_missing"));
    }
    let (status, body) = world
        .upload(&other_bank, id, "application/json", file())
        .await;
    assert_problem(status, &body, (404, "workflow_unknown"));
    for (media_type, content) in [
        ("application/json", &b"id,name"[..]),
        ("application/jsonl", b"{\"id\":1}\n{"),
        ("text/csv", b"\x89PNG\r\n\x1a\n"),
    ] {
        let content = streamed(content.to_vec());
        let (status, body) = world.upload(&bank, id, media_type, content).await;
        assert_problem(status, &body, (422, "media_type_mismatch"));
    }
    let limit = usize::try_from(FILE_BYTES_MAX).unwrap();
    let mut large = vec![b'\n'; limit + 1];
    for body in [Body::from_vec(large.clone()), streamed(large.clone())] {
        let (status, body) = world.upload(&bank, id, "text/csv", body).await;
        assert_problem(status, &body, (413, "object_too_large"));
    }
    assert_eq!(world.n_objects(), 0);
    large.truncate(limit);
    let (status, body) = world.upload(&bank, id, "text/csv", streamed(large)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}

#[tokio::test]
async fn content_decides_what_an_upload_is() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let png = picture(ImageFormat::Png);
    let (status, body) = world
        .upload(&applicant, id, "image/jpeg", streamed(png.clone()))
        .await;
    assert_problem(status, &body, (422, "media_type_mismatch"));
    let html = b"<html><script>".to_vec();
    let (status, body) = world
        .upload(&applicant, id, "image/png", streamed(html))
        .await;
    assert_problem(status, &body, (422, "media_type_mismatch"));
    let (status, body) = world
        .upload(&applicant, id, "image/png", Body::empty())
        .await;
    assert_problem(status, &body, (422, "media_type_mismatch"));
    for media_type in ["application/pdf", "image/gif", "image/svg+xml"] {
        let (status, body) = world
            .upload(&applicant, id, media_type, streamed(png.clone()))
            .await;
        assert_problem(status, &body, (415, "media_type_unsupported"));
    }
    assert_eq!(world.n_objects(), 0);
}

#[tokio::test]
async fn an_upload_beyond_a_limit_is_refused_and_leaves_nothing() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let limit = usize::try_from(UPLOAD_BYTES_MAX).unwrap();
    let mut large = picture(ImageFormat::Png);
    large.resize(limit + 1, 0);
    // Whether it says so first or not.
    let announced = Body::from_vec(large.clone());
    for body in [announced, streamed(large.clone())] {
        let (status, body) = world.upload(&applicant, id, "image/png", body).await;
        assert_problem(status, &body, (413, "object_too_large"));
    }
    large.truncate(limit);
    let (status, body) = world
        .upload(&applicant, id, "image/png", streamed(large))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{body}");

    // An extended WebP whose canvas is 16,777,216 pixels wide.
    let mut bomb = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0".to_vec();
    bomb.extend([0xff, 0xff, 0xff, 0xdf, 0x01, 0]);
    let (status, body) = world
        .upload(&applicant, id, "image/webp", streamed(bomb))
        .await;
    assert_problem(status, &body, (422, "picture_too_large"));
    assert_eq!(world.n_objects(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let pieces = vec![Ok(picture(ImageFormat::Png)), Err(broken)];
    let body = Body::from_bytes_stream(futures_util::stream::iter(pieces));
    let (status, body) = world.upload(&applicant, id, "image/png", body).await;
    assert_problem(status, &body, (400, "upload_broken"));
    assert_eq!(world.n_objects(), 0);
}

#[tokio::test]
async fn an_upload_is_for_an_open_workflow_of_the_applicant() {
    let world = world().await;
    let (bank, other_bank) = (world.bank().await, world.other_bank().await);
    let id = world.start(&bank, "bank", "1").await;
    let other_id = world.start(&bank, "bank", "2").await;
    let applicant = world.applicant(&bank, id).await;
    let intruder = world.applicant(&other_bank, id).await;
    let png = || streamed(picture(ImageFormat::Png));

    let (status, body) = world.upload(&applicant, other_id, "image/png", png()).await;
    assert_problem(status, &body, (404, "workflow_unknown"));
    let (status, body) = world.upload(&intruder, id, "image/png", png()).await;
    assert_problem(status, &body, (404, "workflow_unknown"));
    let (status, body) = world.upload(&bank, id, "image/png", png()).await;
    assert_problem(status, &body, (403, "scope_missing"));
    world.core.lock().unwrap().workflows[0].1.status = Status::Failed;
    let (status, body) = world.upload(&applicant, id, "image/png", png()).await;
    assert_problem(status, &body, (409, "workflow_closed"));
    assert_eq!(world.n_objects(), 0);
}

#[tokio::test]
async fn a_submission_names_only_what_was_uploaded_for_its_workflow() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let other_id = world.start(&bank, "bank", "2").await;
    let applicant = world.applicant(&bank, id).await;
    let other = world.applicant(&bank, other_id).await;
    let png = || streamed(picture(ImageFormat::Png));
    let (_, own) = world.upload(&applicant, id, "image/png", png()).await;
    let (_, foreign) = world.upload(&other, other_id, "image/png", png()).await;
    let mut invented = own.clone();
    invented["object"] = json!(format!("obj_{}{}", id.hex(), "0".repeat(16)));
    let mut changed = own.clone();
    changed["sha256"] = json!("0".repeat(64));

    let prompt = world.ask(id, 1, "liveness", Audience::Applicant);
    let path = format!("/v1/prompts/{prompt}/submissions");
    let submit = async |picture: &Value| {
        let frame = json!({ "action": "front", "picture": picture });
        let body = json!({ "action": "frames", "nonce": "0".repeat(32), "frames": [frame] });
        world.post(&path, &applicant, json!({ "body": body })).await
    };
    for wrong in [&foreign, &invented, &changed] {
        let (status, body) = submit(wrong).await;
        assert_problem(status, &body, (422, "submission_invalid"));
        assert_eq!(body["errors"][0]["pointer"], "/body/frames/0/picture");
    }
    assert_eq!(submit(&own).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_no_submission_names_is_deleted_after_a_day() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let png = || streamed(picture(ImageFormat::Png));
    let (_, named) = world.upload(&applicant, id, "image/png", png()).await;
    world.upload(&applicant, id, "image/png", png()).await;
    let prompt = world.ask(id, 1, "liveness", Audience::Applicant);
    let frame = json!({ "action": "front", "picture": named });
    let body = json!({ "action": "frames", "nonce": "0".repeat(32), "frames": [frame] });
    let path = format!("/v1/prompts/{prompt}/submissions");
    let (status, _) = world.post(&path, &applicant, json!({ "body": body })).await;
    assert_eq!(status, StatusCode::ACCEPTED);

    world.clock.advance(UNNAMED_TTL_MS - 1);
    assert_eq!(world.gateway.sweep().await.unwrap(), 0);
    assert_eq!(world.n_objects(), 2);
    world.clock.advance(1);
    assert_eq!(world.gateway.sweep().await.unwrap(), 1);
    assert_eq!(world.n_objects(), 1);
}

#[tokio::test]
async fn what_only_a_refused_submission_names_is_deleted_after_a_day() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let png = || streamed(picture(ImageFormat::Png));
    let (_, first) = world.upload(&applicant, id, "image/png", png()).await;
    let (_, second) = world.upload(&applicant, id, "image/png", png()).await;
    let prompt = world.ask(id, 1, "liveness", Audience::Applicant);
    let path = format!("/v1/prompts/{prompt}/submissions");
    let submit = async |pictures: &[&Value]| {
        let frame = |it: &&Value| json!({ "action": "front", "picture": it });
        let frames: Vec<_> = pictures.iter().map(frame).collect();
        let body = json!({ "action": "frames", "nonce": "0".repeat(32), "frames": frames });
        world.post(&path, &applicant, json!({ "body": body })).await
    };
    assert_eq!(submit(&[&first]).await.0, StatusCode::ACCEPTED);
    let (status, body) = submit(&[&first, &second]).await;
    assert_problem(status, &body, (409, "prompt_closed"));

    world.clock.advance(UNNAMED_TTL_MS);
    assert_eq!(world.gateway.sweep().await.unwrap(), 1);
    assert_eq!(world.n_objects(), 1);
}

#[tokio::test]
async fn bytes_that_could_not_be_deleted_are_deleted_by_the_next_sweep() {
    fn file(folder: &Path) -> std::path::PathBuf {
        let path = std::fs::read_dir(folder).unwrap().next().unwrap();
        let path = path.unwrap().path();
        if path.is_dir() { file(&path) } else { path }
    }
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let png = streamed(picture(ImageFormat::Png));
    world.upload(&applicant, id, "image/png", png).await;
    world.clock.advance(UNNAMED_TTL_MS);

    // A folder in its place: it cannot be removed as a file.
    let path = file(&world.folder.path().join("objects"));
    let aside = world.folder.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(world.gateway.sweep().await.unwrap(), 0);
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(world.gateway.sweep().await.unwrap(), 1);
    assert_eq!(world.n_objects(), 0);
}

#[tokio::test]
async fn an_upload_that_takes_longer_than_it_may_wait_leaves_nothing() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let (clock, gateway) = (world.clock.clone(), world.gateway.clone());
    let slow = futures_util::stream::once(async move {
        clock.advance(UNNAMED_TTL_MS);
        assert_eq!(gateway.sweep().await.unwrap(), 1);
        Ok::<_, std::io::Error>(vec![0])
    });
    let head = futures_util::stream::iter([Ok(picture(ImageFormat::Png))]);
    let body = Body::from_bytes_stream(futures_util::StreamExt::chain(head, slow));
    let (status, body) = world.upload(&applicant, id, "image/png", body).await;
    assert_problem(status, &body, (400, "upload_broken"));
    assert_eq!(world.n_objects(), 0);
}
