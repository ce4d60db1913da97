//! A server that does nothing: the same service over the same transport, answers of the same size. What it
//! costs, any server of this API costs.

use std::{
    env, io,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{self, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream, Empty},
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::BenchError;
use crate::{
    env::{Net, Tcp},
    pb::{
        convert,
        v1::{
            self, cluster_server::ClusterServer, kv_server::KvServer, pipeline_answer::Answer,
            pipeline_call as call,
        },
    },
    types::{Evidence, KeyRange, Level, Mechanism, MemberRole, Waited},
};

/// Answers until standard input ends; `announce` is told where.
///
/// # Errors
/// No port, or a listener that broke.
pub async fn serve(value_bytes: usize, announce: impl FnOnce(SocketAddr)) -> Result<(), BenchError> {
    let listening = Tcp.listen("127.0.0.1:0".to_owned()).await.map_err(BenchError::io("cannot listen"))?;
    announce(listening.addr);
    let over = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    let noop = Noop { value: Bytes::from(vec![b'n'; value_bytes]) };
    let serving = Server::builder()
        .add_service(KvServer::new(noop.clone()))
        .add_service(ClusterServer::new(noop))
        .serve_with_incoming(listening.incoming);
    tokio::select! {
        served = serving => served.map_err(|error| BenchError::io("cannot serve")(io::Error::other(error))),
        () = over => Ok(()),
    }
}

/// Such a server as a process of its own, so that its processor time can be told from ours. Ends with its
/// handle.
pub struct Child {
    process: process::Child,
    address: String,
}

impl Child {
    /// Starts `quorate bench noop`.
    ///
    /// # Errors
    /// It does not start, or does not say where it listens.
    pub fn start(value_bytes: usize) -> Result<Child, BenchError> {
        let program = env::current_exe().map_err(BenchError::io("cannot find this program"))?;
        let started = Command::new(program)
            .args(["bench", "noop", "--value-size", &value_bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let process = started.map_err(BenchError::io("cannot start the server that does nothing"))?;
        let mut child = Child { process, address: String::new() };
        if let Some(output) = child.process.stdout.take() {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            read.map_err(BenchError::io("cannot read where the server that does nothing listens"))?;
            child.address = line.trim().to_owned();
        }
        match child.address.parse::<SocketAddr>() {
            Ok(_) => Ok(child),
            Err(_) => Err(BenchError::Invalid("the server that does nothing did not start".into())),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Clone)]
struct Noop {
    value: Bytes,
}

/// The only member's id.
const MEMBER: u64 = 1;

impl Noop {
    fn header() -> Option<v1::Header> {
        Some(v1::Header {
            cluster_id: 1,
            member_id: MEMBER,
            term: 1,
            revision: 1_000_000,
            applied_index: 1_000_000,
            request_id: "0123456789abcdef".into(),
        })
    }

    fn write() -> Option<v1::WriteEvidence> {
        Some(v1::WriteEvidence { log_index: 1_000_000, log_term: 1, deduplicated: false })
    }

    fn evidence(level: Level) -> v1::Evidence {
        let evidence = Evidence {
            level_asked: level,
            level_served: level,
            mechanism: Mechanism::Local,
            served_by: MEMBER,
            role: MemberRole::Leader,
            leader_id: Some(MEMBER),
            read_index: Some(1_000_000),
            staleness_bound: Some(Duration::from_millis(1)),
            leader_contact_age: Some(Duration::from_millis(1)),
            waited: Waited::default(),
        };
        evidence.into()
    }

    fn refuse<T>() -> Result<T, Status> {
        Err(Status::unimplemented("this server does nothing"))
    }

    fn read(&self, request: v1::RangeRequest) -> Result<v1::RangeResponse, Status> {
        let invalid = |error: crate::Error| Status::invalid_argument(error.to_string());
        let consistency = convert::consistency(request.consistency).map_err(invalid)?;
        let keys = request.query.and_then(|query| query.keys).unwrap_or_default();
        let kv = v1::KeyValue {
            key: KeyRange::try_from(keys).map_err(invalid)?.start,
            value: self.value.clone(),
            create_revision: 1_000_000,
            mod_revision: 1_000_000,
            version: 1,
            lease: 0,
        };
        Ok(v1::RangeResponse {
            header: Noop::header(),
            kvs: vec![kv],
            count: 1,
            more: false,
            evidence: Some(Noop::evidence(consistency.level)),
        })
    }

    fn put() -> v1::PutResponse {
        v1::PutResponse { header: Noop::header(), prev_kv: None, write: Noop::write() }
    }

    fn decide(request: v1::TxnRequest) -> v1::TxnResponse {
        let ops = request.txn.unwrap_or_default().then_ops.len();
        let put = v1::op_result::Result::Put(v1::PutResult { prev_kv: None });
        let result = v1::OpResult { result: Some(put) };
        let result = Some(v1::TxnResult { succeeded: true, results: vec![result; ops] });
        v1::TxnResponse { header: Noop::header(), result, write: Noop::write() }
    }

    fn answer(&self, call: v1::PipelineCall) -> Result<v1::PipelineAnswer, Status> {
        let answer = match call.request {
            Some(call::Request::Range(request)) => Answer::Range(self.read(request)?),
            Some(call::Request::Put(_)) => Answer::Put(Noop::put()),
            Some(call::Request::Txn(request)) => Answer::Txn(Noop::decide(request)),
            Some(call::Request::Delete(_)) | None => Noop::refuse()?,
        };
        Ok(v1::PipelineAnswer { id: call.id, answer: Some(answer) })
    }
}

#[tonic::async_trait]
impl v1::kv_server::Kv for Noop {
    type ScanStream = Empty<Result<v1::ScanResponse, Status>>;
    type PipelineStream = BoxStream<'static, Result<v1::PipelineResponse, Status>>;

    async fn range(&self, request: Request<v1::RangeRequest>) -> Result<Response<v1::RangeResponse>, Status> {
        Ok(Response::new(self.read(request.into_inner())?))
    }

    async fn scan(&self, _: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        Ok(Response::new(stream::empty()))
    }

    async fn put(&self, _: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        Ok(Response::new(Noop::put()))
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        Noop::refuse()
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        Ok(Response::new(Noop::decide(request.into_inner())))
    }

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let noop = self.clone();
        let answers = request.into_inner().map(move |message| {
            let answers =
                message?.calls.into_iter().map(|call| noop.answer(call)).collect::<Result<_, _>>()?;
            Ok(v1::PipelineResponse { answers })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn compact(&self, _: Request<v1::CompactRequest>) -> Result<Response<v1::CompactResponse>, Status> {
        Noop::refuse()
    }
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for Noop {
    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        let member = v1::Member { id: MEMBER, voter: true, is_leader: true, ..v1::Member::default() };
        Ok(Response::new(v1::MembersResponse { header: Noop::header(), members: vec![member] }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let role = v1::MemberRole::RoleLeader.into();
        let header = Noop::header();
        let status = v1::StatusResponse { header, id: MEMBER, role, leader_id: MEMBER, ..Default::default() };
        Ok(Response::new(status))
    }
}
