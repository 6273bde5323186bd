//! A peer of the benchmark: a forwarder as tun2socks and its kin are, of what crates.io has. What comes from the consumer's namespace
//! ends in a TCP of its own in userspace (netstack-smoltcp, over tun-rs with the kernel's offloads, as the two recommend it), and goes
//! on to the same destination through a socket in this process's own namespace.
//!
//! `userstack NAMESPACE DEVICE MTU`: makes the device there, says `ready`, and goes on until it is ended.
#![expect(clippy::print_stdout, reason = "whoever has started it waits for a word")]

use std::collections::HashMap;
use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use benches::namespace;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use netstack_smoltcp::{Stack, StackBuilder, TcpListener, TcpStream as ConsumersStream, UdpSocket};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tun_rs::{AsyncDevice, DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, SyncDevice, VIRTIO_NET_HDR_LEN};

/// As everybody has.
const THREADS: usize = 2;
/// What is copied at once, each way.
const PIECE: usize = 64 << 10;
/// What may wait between two parts of this program, in packets.
const QUEUE: usize = 4096;
/// How many flows of datagrams there may be. Those of newcomers beyond are dropped.
const FLOWS: usize = 1024;
/// The largest packet that there is.
const LARGEST: usize = 65_535;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [namespace, device, mtu] = &arguments[..] else { bail!("usage: userstack NAMESPACE DEVICE MTU") };
    let mtu = mtu.parse().with_context(|| format!("an MTU: {mtu}"))?;
    let device = open(namespace, device, mtu)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(forward(device, mtu))
}

/// Makes the device in the namespace of this name, while this process stays where it is.
fn open(namespace: &str, name: &str, mtu: u16) -> Result<SyncDevice> {
    let make = || {
        namespace::enter(namespace)?;
        DeviceBuilder::new().name(name).mtu(mtu).offload(true).build_sync().context("the device")
    };
    let made = thread::scope(|scope| scope.spawn(make).join());
    made.unwrap_or_else(|_| Err(anyhow!("the thread that makes the device panicked")))
}

/// Until one of its parts fails.
async fn forward(device: SyncDevice, mtu: u16) -> Result<()> {
    let device = Arc::new(AsyncDevice::new(device)?);
    let (stack, runner, datagrams, listener) = StackBuilder::default()
        .enable_tcp(true)
        .enable_udp(true)
        .mtu(mtu.into())
        .stack_buffer_size(QUEUE)
        .tcp_buffer_size(QUEUE)
        .udp_buffer_size(QUEUE)
        .build()?;
    let (to_stack, from_stack) = stack.split();
    let mut parts = JoinSet::new();
    parts.spawn(runner.context("no TCP")?.map(|ended| ended.context("the stack")));
    parts.spawn(take_in(Arc::clone(&device), to_stack, mtu));
    parts.spawn(give_out(device, from_stack));
    parts.spawn(carry_streams(listener.context("no TCP")?));
    parts.spawn(carry_datagrams(datagrams.context("no UDP")?));
    println!("ready");
    let first = parts.join_next().await.context("no parts")??;
    first.and_then(|()| bail!("a part of it ended"))
}

/// From the device to the stack. A segment that is larger than the MTU is cut up first.
async fn take_in(device: Arc<AsyncDevice>, mut stack: SplitSink<Stack, Vec<u8>>, mtu: u16) -> Result<()> {
    let mut whole = vec![0; VIRTIO_NET_HDR_LEN + LARGEST];
    let mut packets = vec![vec![0; mtu.into()]; IDEAL_BATCH_SIZE];
    let mut lengths = vec![0; IDEAL_BATCH_SIZE];
    loop {
        let count = device.recv_multiple(&mut whole, &mut packets, &mut lengths, 0).await?;
        for (packet, length) in packets.iter().zip(&lengths).take(count) {
            stack.send(packet[..*length].to_vec()).await?;
        }
    }
}

/// From the stack to the device: all that is there at once, so that segments of one stream can be joined.
async fn give_out(device: Arc<AsyncDevice>, mut stack: SplitStream<Stack>) -> Result<()> {
    let mut joined = GROTable::default();
    let mut batch = Vec::with_capacity(IDEAL_BATCH_SIZE);
    loop {
        let mut next = stack.next().await;
        while let Some(packet) = next {
            batch.push(with_room(&packet?));
            let more = batch.len() < IDEAL_BATCH_SIZE;
            next = if more { stack.next().now_or_never().flatten() } else { None };
        }
        device.send_multiple(&mut joined, &mut batch, VIRTIO_NET_HDR_LEN).await?;
        batch.clear();
    }
}

/// A packet with room for the device's header before it, and for others that it is joined with behind.
fn with_room(packet: &[u8]) -> Vec<u8> {
    let mut roomy = Vec::with_capacity(VIRTIO_NET_HDR_LEN + LARGEST);
    roomy.resize(VIRTIO_NET_HDR_LEN, 0);
    roomy.extend_from_slice(packet);
    roomy
}

async fn carry_streams(mut listener: TcpListener) -> Result<()> {
    while let Some((stream, _, destination)) = listener.next().await {
        tokio::spawn(async move {
            if let Err(error) = carry_stream(stream, destination).await {
                eprintln!("a connection to {destination}: {error:#}");
            }
        });
    }
    Ok(())
}

async fn carry_stream(mut consumer: ConsumersStream, destination: SocketAddr) -> Result<()> {
    let mut target = net::TcpStream::connect(destination).await?;
    target.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut consumer, &mut target, PIECE, PIECE).await?;
    Ok(())
}

/// A payload, from whom, and to whom.
type Datagram = (Vec<u8>, SocketAddr, SocketAddr);

/// Datagrams, each through the socket of its flow.
async fn carry_datagrams(socket: UdpSocket) -> Result<()> {
    let (mut from_consumer, mut to_consumer) = socket.split();
    let (answer, mut answers) = mpsc::channel::<Datagram>(QUEUE);
    tokio::spawn(async move {
        while let Some(datagram) = answers.recv().await {
            to_consumer.send(datagram).await?;
        }
        Ok::<(), anyhow::Error>(())
    });
    let mut sockets = HashMap::new();
    while let Some((payload, source, destination)) = from_consumer.next().await {
        let flow = (source, destination);
        if !sockets.contains_key(&flow) && sockets.len() < FLOWS {
            let socket = Arc::new(net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?);
            socket.connect(destination).await?;
            tokio::spawn(carry_answers(Arc::clone(&socket), source, destination, answer.clone()));
            sockets.insert(flow, socket);
        }
        if let Some(socket) = sockets.get(&flow) {
            // Whoever does not listen is the consumer's affair.
            let _ = socket.send(&payload).await;
        }
    }
    Ok(())
}

/// What comes back on a flow's socket.
async fn carry_answers(
    socket: Arc<net::UdpSocket>,
    consumer: SocketAddr,
    target: SocketAddr,
    answer: mpsc::Sender<Datagram>,
) {
    let mut buffer = vec![0; LARGEST];
    loop {
        // As above: a refusal does not end the flow.
        let Ok(length) = socket.recv(&mut buffer).await else { continue };
        if answer.send((buffer[..length].to_vec(), target, consumer)).await.is_err() {
            return;
        }
    }
}
