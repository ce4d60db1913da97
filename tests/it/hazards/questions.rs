//! Questions for read indexes go through a stream: none may get the answer to another.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use quorate::{
    Error,
    env::Env,
    pb::{
        convert::to_status,
        internal::{self as pb, peer_server::PeerServer},
    },
    raft::links::{Link, Links, Question, Questions},
};
use tonic::{Status, Streaming};

use super::{bench::A_WHILE, members::Recorder};
use crate::support::{SOON, eventually, ports};

/// What was asked, by request id, in the order in which it arrived.
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, id: &str) -> usize {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(id.to_owned());
        asked.iter().filter(|before| *before == id).count()
    }

    /// Answers a number with that index. Of the others one is never answered, one refused, and one ends the
    /// stream when it comes first.
    pub fn answer(
        &self,
        questions: Streaming<pb::ReadIndexRequest>,
    ) -> BoxStream<'static, Result<pb::ReadIndexReply, Status>> {
        let asked = self.clone();
        let answers = questions.try_filter_map(move |question| {
            let (id, asked) = (question.request_id, asked.clone());
            async move {
                match (id.as_str(), asked.note(&id)) {
                    ("silence", _) => std::future::pending().await,
                    ("refusal", _) => Err(to_status(&Error::NoLeader, &id)),
                    ("cut", 1) => Err(Status::unavailable("")),
                    ("cut", again) => Ok(Some(again as u64)),
                    (index, _) => Ok(index.parse::<u64>().ok()),
                }
            }
        });
        answers.map_ok(|index| pb::ReadIndexReply { term: 1, index, by_lease: false }).boxed()
    }
}

async fn ask(link: &Link, through: &mut Questions, id: &str) -> Result<(u64, u64), Error> {
    let question = Question { by_lease: false, follows_in: 0, request_id: id.to_owned() };
    link.read_index(through, question).await
}

#[tokio::test]
async fn each_question_gets_its_own_answer_and_what_is_refused_is_asked_once() {
    let (asked, addr) = (Asked::default(), ports::free_addr());
    let recorder = Recorder { asked: asked.clone(), ..Recorder::default() };
    let server = tonic::transport::Server::builder().add_service(PeerServer::new(recorder));
    tokio::spawn(server.serve(addr.parse().expect("an address")));
    let listening = async || tokio::net::TcpStream::connect(&addr).await.map_err(|error| error.to_string());
    eventually("it listens", SOON, listening).await;
    let links = Links::new(1, 7, Env::real().net(), BTreeMap::new());
    let link = links.to(2, &addr).expect("an address");
    let mut through = Questions::default();

    assert_eq!(ask(&link, &mut through, "1").await, Ok((1, 1)));
    let given_up = tokio::time::timeout(A_WHILE, ask(&link, &mut through, "silence")).await;
    given_up.expect_err("nobody answers it");
    assert_eq!(ask(&link, &mut through, "2").await, Ok((1, 2)), "its own answer, on a new stream");
    assert_eq!(ask(&link, &mut through, "refusal").await, Err(Error::NoLeader));
    assert_eq!(ask(&link, &mut through, "3").await, Ok((1, 3)));
    assert_eq!(ask(&link, &mut through, "cut").await, Ok((1, 2)), "asked again where the stream broke");
    assert_eq!(asked.all(), ["1", "silence", "2", "refusal", "3", "cut", "cut"]);
}
