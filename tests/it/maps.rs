//! Maps and races through the public API: engine, workers and object store together.

use btrust_tests::World;
use serde_json::{Value, json};

/// Doubles numbers, writes them to a file, reads the file and adds one to each.
fn definition() -> Value {
    let processor = |name: &str, output: &str| {
        json!({
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": name,
            "States": {name: {"Type": "Pass", "Output": output, "End": true}}
        })
    };
    json!({
        "name": "through-a-file",
        "timeoutSeconds": 600,
        "decisions": {"referred": {}},
        "definition": {
            "QueryLanguage": "JSONata",
            "StartAt": "Write",
            "States": {
                "Write": {
                    "Type": "Map",
                    "Items": "{% $states.input.numbers %}",
                    "MaxConcurrency": 2,
                    "ItemProcessor": processor("Double", "{% $states.input * 2 %}"),
                    "ResultWriter": {"Resource": "kyc:write-results", "WriterConfig": {"OutputType": "JSONL"}},
                    "Assign": {"written": "{% $states.result.result %}"},
                    "Next": "Read"
                },
                "Read": {
                    "Type": "Map",
                    "ItemReader": {
                        "Resource": "kyc:read-items",
                        "ReaderConfig": {"InputType": "JSONL"},
                        "Arguments": {"object": "{% $written %}"}
                    },
                    "ItemProcessor": processor("AddOne", "{% $states.input + 1 %}"),
                    "Assign": {"numbers": "{% $states.result %}"},
                    "Next": "Done"
                },
                "Done": {
                    "Type": "Succeed",
                    "Output": {"decision": "referred", "numbers": "{% $numbers %}"}
                }
            }
        }
    })
}

#[tokio::test]
async fn a_map_writes_its_results_to_a_file_and_the_next_one_reads_them() {
    let world = World::start();
    let admin = world.client("admin").await;
    admin.post("/v1/definitions", definition()).await.ok();
    let bank = world.client("bank").await;
    let input = json!({"numbers": [1, 2, 3]});
    let started = bank.start("map", "through-a-file", input).await.ok();
    let id = started["id"].as_str().expect("an id").to_owned();
    let result = bank
        .get(&format!("/v1/workflows/{id}/result?wait=25"))
        .await
        .ok();
    assert_eq!(result["decision"], "referred", "{result}");
    assert_eq!(result["output"]["numbers"], json!([3, 5, 7]), "{result}");
    world.check_engine();
}
