//! The real client over pipes in memory, against a server that is the input's, in time that it moves.
//!
//! What must hold, whatever the server sends: nothing panics or turns for ever; each call ends, once,
//! by its deadline at the latest; what it is given was sent to it and to no other call; ids are not used
//! twice; a connection that is still there has room for as many calls as ever; and in the end no task is left.

#![no_main]

#[path = "client/calls.rs"]
mod calls;
#[path = "client/server.rs"]
mod server;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rpc_client::{Client, Config};
use rpc_fuzz::input::Input;
use rpc_fuzz::line::Ending;
use rpc_fuzz::pipe::pipe;
use tokio::runtime::{Builder, Handle, Runtime};

use calls::{Calls, Kind};
use server::Server;

/// Calls in flight on a connection.
const IN_FLIGHT_MAX: usize = 8;

fuzz_target!(|data: &[u8]| {
    thread_local! {
        static WORLD: RefCell<World> = RefCell::new(World { runtime: new_runtime(), runs: 0 });
    }

    WORLD.with_borrow_mut(|world| world.run(Input(data)));
});

struct World {
    runtime: Runtime,
    runs: u64,
}

fn new_runtime() -> Runtime {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime of one thread")
}

impl World {
    fn run(&mut self, mut input: Input<'_>) {
        self.runs += 1;

        // Far from the end of what its clock can count.
        if self.runs.is_multiple_of(100_000) {
            self.runtime = new_runtime();
        }

        // What the client draws by chance is the same each time.
        fastrand::seed(1);

        self.runtime.block_on(async {
            let flags = input.byte();
            let mut run = Run::new(flags);

            while !input.is_empty() {
                run.step(&mut input).await;
            }

            run.finish().await;
        });
    }
}

struct Run {
    calls: Calls,
    is_ordered: bool,
    server: Server,
    refuses: Arc<AtomicBool>,
}

impl Run {
    fn new(flags: u8) -> Self {
        let config = Config::default().with(|config| {
            config.timeouts.call_timeout_ms = 5_000;
            config.timeouts.connect_timeout_ms = 1_000;
            config.reconnect.fail_fast_after_ms = 500;
            config.limits.in_flight_per_connection = IN_FLIGHT_MAX;
            config.limits.output_bytes_max = 512;
            config.limits.frame_bytes_max = 200;
            config.limits.stream_credit = 4;
            config.liveness.ping_interval_ms = 1_000;
            config.timeouts.write_stall_timeout_ms = 2_000;
            config.timeouts.idle_timeout_ms = if flags & 2 == 2 { 700 } else { 0 };
            config.pool.ordered = flags & 1 == 1;
        });

        let server = Server::default();
        let refuses = Arc::new(AtomicBool::new(false));
        let (ends, is_refused) = (server.ends(), Arc::clone(&refuses));
        let piece = usize::from(flags >> 2 & 7) * 3;

        let connector = move |_: String| {
            // Relaxed: all of it runs on one thread.
            let opened = (!is_refused.load(Ordering::Relaxed)).then(pipe);
            if let Some((_, far)) = &opened {
                far.state().piece = piece;
                ends.lock()
                    .expect("nothing panics in between")
                    .push(far.clone());
            }

            async move {
                opened
                    .map(|(near, _)| near)
                    .ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into())
            }
        };

        let client = Client::builder("memory")
            .config(config)
            .connector(connector)
            .build();

        Self {
            calls: Calls::new(client),
            is_ordered: flags & 1 == 1,
            server,
            refuses,
        }
    }

    async fn step(&mut self, input: &mut Input<'_>) {
        let (step, argument) = (input.byte(), input.byte());
        match step & 15 {
            0 => self.calls.begin(Kind::Multiplexed, argument),
            1 => self.calls.begin(Kind::Ordered, argument),
            2 => self.calls.begin(Kind::Stream, argument),
            3 => self.calls.begin(Kind::Oneway, argument),
            4 => self.server.answer(argument),
            5 => self.server.fail(argument, step >> 4),
            6 => self.server.send_item(argument),
            7 => self.server.answer_nobody(argument),
            8 => self.server.raw(
                input.bytes(usize::from(argument)),
                Ending::chosen_by(step >> 4),
            ),
            9 => self.server.end(),
            10 => self.server.set_room(argument),
            11 => self.calls.drop_one(argument),
            12 => {
                let milliseconds =
                    [1, 10, 50, 150, 450, 950, 2_001, 5_001][usize::from(argument & 7)];
                tokio::time::advance(Duration::from_millis(milliseconds)).await;
            }
            13 => self.refuses.store(argument & 1 == 1, Ordering::Relaxed),
            14 => self.server.say_goaway(),
            _ if argument == 0 => self.server.reset(),
            // Several steps before anybody has a turn.
            _ => return,
        }

        self.settle().await;
    }

    /// Lets everybody do what there is to do.
    async fn settle(&mut self) {
        for _ in 0..3 {
            self.calls.turn();
            tokio::task::yield_now().await;
        }

        self.calls.turn();
        self.server.read(&self.calls);
        self.calls.check(&self.server);
    }

    async fn finish(&mut self) {
        self.refuses.store(false, Ordering::Relaxed);
        self.server.set_room(u8::MAX);
        self.settle().await;

        // Longer than every call has.
        for _ in 0..8 {
            if self.calls.are_over() {
                break;
            }
            tokio::time::advance(Duration::from_millis(700)).await;
            self.settle().await;
        }

        assert!(self.calls.are_over(), "each call ends by its deadline");
        self.look_for_leaks().await;

        // The last handle.
        self.calls.let_go();
        for _ in 0..40 {
            tokio::task::yield_now().await;
            if Handle::current().metrics().num_alive_tasks() == 0 {
                return;
            }
            tokio::time::advance(Duration::from_millis(250)).await;
        }

        panic!("a task is left behind");
    }

    /// A connection on which calls have come and gone takes as many as a new one.
    async fn look_for_leaks(&mut self) {
        if self.is_ordered {
            return;
        }

        self.settle().await;
        let Some(before) = self.server.frames_of_a_sound_connection() else {
            return;
        };

        for _ in 0..IN_FLIGHT_MAX {
            self.calls.begin(Kind::Multiplexed, 0);
        }
        self.settle().await;
        let Some(after) = self.server.frames_of_a_sound_connection() else {
            return;
        };

        // One that has been idle for long may have given way to another one.
        let earlier = match before.connection == after.connection {
            true => before.count,
            false => 0,
        };
        assert_eq!(after.count - earlier, IN_FLIGHT_MAX, "a slot is lost");
        self.calls.drop_all();
        self.settle().await;
    }
}
