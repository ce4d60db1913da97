//! What travels beside every peer message, as metadata: cluster, sender, addressee, and a client's request
//! id.

use std::time::Duration;

use tonic::{
    Request,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
};

use crate::types::{ClusterId, NodeId};

const CLUSTER: &str = "quorate-cluster-id";
const FROM: &str = "quorate-from";
const TO: &str = "quorate-to";
const TIMEOUT: &str = "grpc-timeout";
/// Names a client's request on its way.
pub const REQUEST_ID: &str = "x-request-id";

/// Who speaks to whom, within which cluster (0: not founded yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's cluster.
    pub cluster_id: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Whom it means to reach.
    pub to: NodeId,
}

impl Envelope {
    /// A request in this envelope, which both sides give up after `timeout`.
    pub fn wrap<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = self.wrap_untimed(message);
        request.set_timeout(timeout);
        if let Some(left) = request.metadata_mut().get_mut(TIMEOUT) {
            // It does not come again: not for HTTP/2's table of headers, which shortens what does.
            left.set_sensitive(true);
        }
        request
    }

    /// A request in this envelope that may take as long as it moves: whoever sends it sees to its end.
    pub fn wrap_untimed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (key, id) in [(CLUSTER, self.cluster_id), (FROM, self.from), (TO, self.to)] {
            request.metadata_mut().insert(AsciiMetadataKey::from_static(key), AsciiMetadataValue::from(id));
        }
        request
    }

    /// Reads the envelope of a request; the error names what is wrong with it.
    pub fn open(metadata: &MetadataMap) -> Result<Envelope, String> {
        let number = |key: &'static str| {
            let text = metadata.get(key).and_then(|value| value.to_str().ok());
            text.and_then(|text| text.parse().ok())
                .ok_or_else(|| format!("metadata {key} is missing or no number"))
        };
        Ok(Envelope { cluster_id: number(CLUSTER)?, from: number(FROM)?, to: number(TO)? })
    }
}

/// Puts a client's request id beside a message; an empty one is none.
pub fn with_request_id<T>(mut request: Request<T>, id: &str) -> Request<T> {
    if !id.is_empty()
        && let Ok(mut value) = AsciiMetadataValue::try_from(id)
    {
        // As above.
        value.set_sensitive(true);
        request.metadata_mut().insert(REQUEST_ID, value);
    }
    request
}

/// The client's request id beside a message, or an empty one.
pub fn request_id(metadata: &MetadataMap) -> String {
    metadata.get(REQUEST_ID).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
