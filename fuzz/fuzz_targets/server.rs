//! A connection of the real server over a pipe in memory, in time that the input moves.
//!
//! The input is a row of steps: calls of every kind, bytes of any kind, a peer that stops reading, ends
//! its side or breaks off, time that passes, a drain. What must hold, whatever happens: nothing panics
//! or turns for ever; a reply answers its own call, each call at most once, a oneway call never; replies
//! without an id come in the order of their calls; no more calls run than may; where nothing was cut,
//! each accepted call has its reply; and in the end, the connection ends.

#![no_main]

#[path = "server/commands.rs"]
mod commands;
#[path = "server/peer.rs"]
mod peer;

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rpc_fuzz::input::Input;
use rpc_fuzz::line::Ending;
use rpc_fuzz::pipe::pipe;
use rpc_fuzz::polled::Polled;
use rpc_server::{Config, Server, ServerHandle};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use peer::{Fields, Kind, Peer, Retirement};

/// Small, so that every limit is reached.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    Config::default().with(|config| {
        config.limits.frame_bytes_max = 120;
        config.limits.reply_bytes_max = 300;
        config.timeouts.frame_timeout_ms = 1_000;
        config.throttle.bad_frames_in_a_row_max = 4;
        config.admission.in_flight_per_connection = 4;
        config.limits.connection_bytes_max = 700;
        config.timeouts.handler_timeout_ms = 2_000;
        config.limits.output_bytes_soft_max = 512;
        config.limits.output_bytes_hard_max = 1_024;
        config.timeouts.write_stall_timeout_ms = 1_000;
        config.timeouts.linger_timeout_ms = 500;
        config.drain.goaway_grace_ms = 200;
        config.drain.timeout_ms = 3_000;
    })
});

fuzz_target!(|data: &[u8]| {
    thread_local! {
        static WORLD: RefCell<World> = RefCell::new(World::new());
    }

    WORLD.with_borrow_mut(|world| world.run(Input(data)));
});

/// What the runs share: a runtime whose time stands still, and the servers that have not been drained.
struct World {
    runtime: Runtime,
    /// By the retirement of their connections.
    servers: [Option<Serving>; 2],
    runs: u64,
}

struct Serving {
    handle: ServerHandle,
    task: Polled<()>,
    drain: Option<oneshot::Sender<()>>,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();

        Self {
            runtime: runtime.expect("a runtime of one thread"),
            servers: [None, None],
            runs: 0,
        }
    }

    fn run(&mut self, mut input: Input<'_>) {
        self.runs += 1;

        // Far from the end of what its clock can count.
        if self.runs.is_multiple_of(100_000) {
            *self = Self::new();
        }

        let flags = input.byte();
        let (index, retirement) = match flags & 1 {
            0 => (0, Retirement::Never),
            _ => (1, Retirement::Early),
        };
        let Self {
            runtime, servers, ..
        } = self;

        runtime.block_on(async {
            let mut server = match servers[index].take() {
                Some(server) => server,
                None => serve(retirement).await,
            };

            let (near, far) = pipe();
            far.state().piece = usize::from(flags >> 1 & 7) * 3;
            let connection = Polled::new(server.handle.serve_connection(near, "fuzz"));
            let mut peer = Peer::new(far, connection, retirement);

            while !input.is_empty() && !peer.is_over() {
                step(&mut input, &mut peer, &mut server).await;
            }

            peer.finish(&mut server.task).await;
            if server.drain.is_some() {
                assert_eq!(server.handle.stats().connections_open, 0);
                assert_eq!(server.handle.stats().in_flight, 0);
                servers[index] = Some(server);
            } else {
                // The connection was its last one.
                server.task.turn();
                assert!(
                    server.task.is_over(),
                    "the drain has ended with its last connection"
                );
            }
        });
    }
}

async fn serve(retirement: Retirement) -> Serving {
    let config = CONFIG.clone().with(|config| {
        config.drain.requests_per_connection_max = match retirement {
            Retirement::Never => 0,
            Retirement::Early => 6,
        };
    });

    let server = Server::builder()
        .config(config)
        .router(commands::router())
        .bind()
        .await;
    let server = server.expect("a server without a socket");

    let (drain, asked) = oneshot::channel();
    let handle = server.handle();
    let mut task = Polled::new(async move {
        let served = server.serve(async { drop(asked.await) }).await;
        served.expect("a server without a socket");
    });
    task.turn();

    Serving {
        handle,
        task,
        drain: Some(drain),
    }
}

async fn step(input: &mut Input<'_>, peer: &mut Peer, server: &mut Serving) {
    let (step, argument) = (input.byte(), input.byte());
    match step & 15 {
        0..=2 => peer.call(
            Kind::Multiplexed(u64::from(step >> 4 & 7)),
            argument,
            Fields::chosen_by(step >> 7),
        ),
        3 | 4 => peer.call(
            Kind::Ordered,
            argument,
            Fields::chosen_by(step >> 4 & step >> 5),
        ),
        5 => peer.call(
            Kind::Oneway((step >> 7 == 1).then_some(u64::from(step >> 4 & 7))),
            argument,
            Fields::Needed,
        ),
        6 => peer.line(format_args!(
            "{{\"cmdid\":4,\"params\":{{\"id\":{}}}}}",
            argument & 7
        )),
        7 => {
            let (id, items) = (argument & 7, argument >> 3);
            peer.line(format_args!(
                "{{\"cmdid\":5,\"params\":{{\"id\":{id},\"n\":{items}}}}}"
            ));
        }
        8 => peer.raw(
            input.bytes(usize::from(argument)),
            Ending::chosen_by(step >> 4),
        ),
        9 => peer.half_close(),
        10 => peer.stop_reading(usize::from(argument)),
        11 => peer.read_on(),
        12 | 13 => {
            let milliseconds = [1, 10, 50, 100, 250, 500, 1_001, 2_500][usize::from(argument & 7)];
            peer.let_pass(Duration::from_millis(milliseconds), &mut server.task)
                .await;
        }
        14 => {
            if let Some(drain) = server.drain.take() {
                peer.expect_a_drain();
                drain.send(()).expect("it serves");
                server.task.turn();
            }
        }
        _ if argument == 0 => peer.reset(),
        // Several lines in one segment, from here to the next step of another kind.
        _ => peer.hold_back(argument & 7),
    }

    peer.turn();
}
