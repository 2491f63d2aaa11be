//! What the gateway asks of webhooks at the streams service.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use btrust_schemas::webhooks::{
    DeliveryDetailView, DeliveryPage, DeliveryQuery, DeliveryView, EndpointAct, EndpointRequest,
    EndpointView, EndpointsView, NewEndpointView, NewSecretView, ReplayRequest, ReplayView,
    RotationRequest,
};

use crate::gateway::core_client::{borrowed, pairs};
use crate::gateway::streams_client::{StreamsClient, StreamsError};

/// What belongs to a tenant's endpoints.
const ENDPOINTS: &str = "webhook-endpoints";

impl StreamsClient {
    pub async fn create_webhook(
        &self,
        tenant: &str,
        request: &EndpointRequest,
    ) -> Result<NewEndpointView, StreamsError> {
        self.post_webhook(tenant, &[], request).await
    }

    pub async fn webhooks(&self, tenant: &str) -> Result<EndpointsView, StreamsError> {
        Ok(self.0.get(&["tenants", tenant, ENDPOINTS], &[]).await?)
    }

    pub async fn webhook(&self, tenant: &str, id: &str) -> Result<EndpointView, StreamsError> {
        let path = ["tenants", tenant, ENDPOINTS, id];
        Ok(self.0.get(&path, &[]).await?)
    }

    pub async fn replace_webhook(
        &self,
        tenant: &str,
        id: &str,
        request: &EndpointRequest,
    ) -> Result<EndpointView, StreamsError> {
        let url = self.0.url(&["tenants", tenant, ENDPOINTS, id]);
        Ok(self.0.send_json(Method::PUT, url, request).await?)
    }

    pub async fn delete_webhook(
        &self,
        tenant: &str,
        id: &str,
        act: &EndpointAct,
    ) -> Result<(), StreamsError> {
        self.post_webhook(tenant, &[id, "deletion"], act).await
    }

    pub async fn rotate_webhook_secret(
        &self,
        tenant: &str,
        id: &str,
        request: &RotationRequest,
    ) -> Result<NewSecretView, StreamsError> {
        self.post_webhook(tenant, &[id, "secrets"], request).await
    }

    pub async fn test_webhook(
        &self,
        tenant: &str,
        id: &str,
        act: &EndpointAct,
    ) -> Result<DeliveryView, StreamsError> {
        self.post_webhook(tenant, &[id, "test"], act).await
    }

    pub async fn replay_webhook(
        &self,
        tenant: &str,
        id: &str,
        request: &ReplayRequest,
    ) -> Result<ReplayView, StreamsError> {
        self.post_webhook(tenant, &[id, "replay"], request).await
    }

    pub async fn webhook_deliveries(
        &self,
        tenant: &str,
        id: &str,
        query: &DeliveryQuery,
    ) -> Result<DeliveryPage, StreamsError> {
        let path = ["tenants", tenant, ENDPOINTS, id, "deliveries"];
        Ok(self.0.get(&path, &borrowed(&pairs(query))).await?)
    }

    pub async fn webhook_delivery(
        &self,
        tenant: &str,
        id: &str,
        delivery: &str,
    ) -> Result<DeliveryDetailView, StreamsError> {
        let path = ["tenants", tenant, ENDPOINTS, id, "deliveries", delivery];
        Ok(self.0.get(&path, &[]).await?)
    }

    pub async fn replay_webhook_delivery(
        &self,
        tenant: &str,
        id: &str,
        delivery: &str,
        act: &EndpointAct,
    ) -> Result<DeliveryView, StreamsError> {
        let path = [id, "deliveries", delivery, "replay"];
        self.post_webhook(tenant, &path, act).await
    }

    async fn post_webhook<T: DeserializeOwned>(
        &self,
        tenant: &str,
        below: &[&str],
        body: &impl Serialize,
    ) -> Result<T, StreamsError> {
        let path = [&["tenants", tenant, ENDPOINTS], below].concat();
        Ok(self.0.post(&path, body).await?)
    }
}
