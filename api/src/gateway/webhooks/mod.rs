//! Endpoints of the bank that are told what happens to workflows, and the calls to them.

mod client;
mod create_endpoint;
mod delete_endpoint;
mod get_delivery;
mod get_endpoint;
mod list_deliveries;
mod list_endpoints;
mod replace_endpoint;
mod replay_deliveries;
mod replay_delivery;
mod rotate_secret;
mod test_endpoint;
mod views;

use std::sync::Arc;

use super::Gateway;
use create_endpoint::CreateWebhookEndpoint;
use delete_endpoint::DeleteWebhookEndpoint;
use get_delivery::GetWebhookDelivery;
use get_endpoint::GetWebhookEndpoint;
use list_deliveries::ListWebhookDeliveries;
use list_endpoints::ListWebhookEndpoints;
use replace_endpoint::ReplaceWebhookEndpoint;
use replay_deliveries::ReplayWebhookDeliveries;
use replay_delivery::ReplayWebhookDelivery;
use rotate_secret::RotateWebhookSecret;
use test_endpoint::TestWebhookEndpoint;

/// Operations on webhooks.
pub type WebhookEndpoints = (
    CreateWebhookEndpoint,
    ListWebhookEndpoints,
    GetWebhookEndpoint,
    ReplaceWebhookEndpoint,
    DeleteWebhookEndpoint,
    RotateWebhookSecret,
    TestWebhookEndpoint,
    ReplayWebhookDeliveries,
    ListWebhookDeliveries,
    GetWebhookDelivery,
    ReplayWebhookDelivery,
);

/// All of them.
pub fn endpoints(gateway: &Arc<Gateway>) -> WebhookEndpoints {
    let gateway = || Arc::clone(gateway);
    (
        CreateWebhookEndpoint(gateway()),
        ListWebhookEndpoints(gateway()),
        GetWebhookEndpoint(gateway()),
        ReplaceWebhookEndpoint(gateway()),
        DeleteWebhookEndpoint(gateway()),
        RotateWebhookSecret(gateway()),
        TestWebhookEndpoint(gateway()),
        ReplayWebhookDeliveries(gateway()),
        ListWebhookDeliveries(gateway()),
        GetWebhookDelivery(gateway()),
        ReplayWebhookDelivery(gateway()),
    )
}
