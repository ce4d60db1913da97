use super::*;

/// A network before one member, a connection through it, and the member's end of that.
async fn link() -> (Network, TcpStream, TcpStream) {
    let target = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = target.local_addr().expect("a bound port").to_string();
    let peers = BTreeMap::from([(1, "127.0.0.1:1".to_owned()), (2, addr)]);
    let network = Network::start(&peers, &BTreeMap::new()).await.expect("ports");
    let near = TcpStream::connect(&network.detours[&(1, 2)]).await.expect("the proxy");
    near.set_nodelay(true).expect("an open socket");
    let (far, _) = target.accept().await.expect("the target is dialled");
    (network, near, far)
}

#[tokio::test]
async fn a_cut_stops_bytes_in_one_direction_until_it_is_lifted() {
    let (network, mut near, mut far) = link().await;
    let (mut byte, patience) = ([0], Duration::from_millis(200));

    let cut = network.impose([(1, 2)], Trouble::Cut);
    near.write_all(b"a").await.expect("a write");
    tokio::time::timeout(patience, far.read_exact(&mut byte)).await.expect_err("requests are cut");
    far.write_all(b"b").await.expect("a write");
    near.read_exact(&mut byte).await.expect("answers go on");
    assert!(network.counted(&[(1, 2)]).held > 0, "the cut is seen to have held something");

    network.lift(cut);
    far.read_exact(&mut byte).await.expect("what was under way arrives");
    assert_eq!(&byte, b"a");
    drop(far);
    assert_eq!(near.read(&mut byte).await.expect("an end"), 0, "a dead process looks dead");
}

#[tokio::test]
async fn the_end_of_one_trouble_does_not_heal_another() {
    let (network, mut near, mut far) = link().await;
    let first = network.impose([(1, 2)], Trouble::Cut);
    network.impose(Network::between(&[1], &[2]), Trouble::Cut);
    network.lift(first);
    near.write_all(b"a").await.expect("a write");
    let (mut byte, patience) = ([0], Duration::from_millis(200));
    tokio::time::timeout(patience, far.read_exact(&mut byte)).await.expect_err("it is still cut");
    network.heal();
    far.read_exact(&mut byte).await.expect("what was under way arrives");
}

#[tokio::test]
async fn a_delay_makes_bytes_late_but_does_not_hold_up_those_behind() {
    let (network, mut near, mut far) = link().await;
    let (delay, chunks) = (Duration::from_millis(100), 50);
    network.impose([(1, 2)], Trouble::Delay(delay));
    let began = Instant::now();
    let sending = async {
        for _ in 0..chunks {
            near.write_all(b"a").await.expect("a write");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let mut bytes = vec![0; chunks];
    let (_, read) = tokio::join!(sending, far.read_exact(&mut bytes));
    read.expect("all of it arrives");
    let took = began.elapsed();
    assert!(took >= delay, "late: {took:?}");
    assert!(took < delay * (chunks as u32) / 2, "but not one after the other: {took:?}");
}

#[tokio::test]
async fn a_reset_and_a_loss_end_the_connection() {
    let mut byte = [0];
    let (network, mut near, _far) = link().await;
    network.reset([(1, 2)]);
    assert!(!matches!(near.read(&mut byte).await, Ok(1..)), "it was reset");
    let (network, mut near, mut far) = link().await;
    network.impose([(1, 2)], Trouble::Lossy(1.0));
    near.write_all(b"a").await.expect("a write");
    assert!(!matches!(far.read(&mut byte).await, Ok(1..)), "it was lost");
    assert_eq!(network.counted(&[(1, 2)]).lost, 1);
}
