//! `btrust up`: how soon it is healthy, what every service answers, how it stops.

use btrust_tests::World;
use serde_json::Value;

#[tokio::test]
async fn every_service_says_how_it_is() {
    let world = World::start();
    let urls = world.up["urls"].as_object().expect("urls");
    assert_eq!(urls.len(), 9);
    for (service, url) in urls {
        let url = url.as_str().expect("a url");
        let health: Value = reqwest::get(format!("{url}/actuator/health"))
            .await
            .expect(service)
            .json()
            .await
            .expect(service);
        assert_eq!(health["status"], "UP", "{service}: {health}");
        let ready = reqwest::get(format!("{url}/actuator/health/readiness"))
            .await
            .expect(service);
        assert!(ready.status().is_success(), "{service}");
        let metrics = reqwest::get(format!("{url}/metrics"))
            .await
            .expect(service)
            .text()
            .await
            .expect(service);
        assert!(
            metrics.contains("http_requests_total"),
            "{service}: {metrics}"
        );
    }
}

#[tokio::test]
async fn a_restart_on_the_same_folder_keeps_credentials_definitions_and_workflows() {
    let mut world = World::start();
    let bank = world.client("bank").await;
    let input = serde_json::json!({"applicant": {"phone": "+12025550143", "email": "specimen@example.com"}});
    let started = bank.start("once", "bank-onboarding", input.clone()).await;
    assert_eq!(started.status, 201, "{}", started.body);
    let credentials = world.up["credentials"].clone();

    world.kill_and_restart();
    assert_eq!(world.up["credentials"], credentials);
    let bank = world.client("bank").await;
    let again = bank.start("once", "bank-onboarding", input).await;
    assert_eq!(
        (again.status, &again.body["id"]),
        (200, &started.body["id"]),
        "{}",
        again.body
    );
    let definitions = bank.get("/v1/definitions").await.ok();
    assert_eq!(
        definitions["definitions"].as_array().map(Vec::len),
        Some(1),
        "{definitions}"
    );
    let applicant = bank
        .applicant(started.body["id"].as_str().expect("an id"))
        .await;
    let prompt = applicant
        .prompt(started.body["id"].as_str().expect("an id"))
        .await;
    assert_eq!(prompt["kind"], "consent");
}
