//! The one loop of the process: tells the state machine what happened, and does what it says.

use std::{future::pending, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use contract::{
    lifecycle::{Event, Load},
    signal::StopSignal,
};
use futures_util::{
    StreamExt,
    future::Either,
    stream::{BoxStream, FuturesUnordered},
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, MissedTickBehavior, Sleep, interval, sleep},
};

use crate::{
    accept,
    announce::Announcer,
    config::Config,
    connection,
    layers::{self, Stack},
    lifecycle::{Action, Input, Lifecycle, OnSigterm, Phase, Timer},
    pod::Pod,
    poll,
};

/// How often a draining pod says what it still holds.
const DRAINING_PERIOD: Duration = Duration::from_secs(1);

/// Why the server could not start: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("listen on {address}: {source}; {}", advice(source))]
    Listen { address: SocketAddr, source: io::Error },
    #[error("listen for SIGTERM: {0}")]
    Signal(#[source] io::Error),
    #[error("go on: told to crash by --exit-after")]
    Crash,
    #[error("write lifecycle lines: standard output is closed ({0}); keep it open")]
    Stdout(#[source] io::Error),
}

/// What the loop waits for.
enum Occurrence {
    Input(Input),
    Accepted(TcpStream),
    Polled(Event),
    DrainingTick,
    Alive,
    Crash,
}

struct Shell {
    pod: Arc<Pod>,
    stack: Stack,
    lifecycle: Lifecycle,
    address: SocketAddr,
    listener: Option<TcpListener>,
    /// The stop signal, if it is handled.
    stopped: Option<Signal>,
    crash: Option<Pin<Box<Sleep>>>,
    alive: Option<Interval>,
    timers: FuturesUnordered<Pin<Box<dyn Future<Output = Timer> + Send>>>,
    polls: Option<BoxStream<'static, Event>>,
    draining: Option<Interval>,
}

/// Serves from bind to the `finished` line.
///
/// # Errors
/// [`StartError`] if it never got to serve.
pub(crate) async fn run(config: Config) -> Result<(), StartError> {
    // The handler comes first: from its first line on the pod can be stopped in an orderly way.
    let stopped = match config.policy().on_sigterm {
        OnSigterm::Unhandled => None,
        _ => Some(signal(kind(config.stop_signal())).map_err(StartError::Signal)?),
    };
    let announcer = Announcer::stdout(config.pod_name().to_owned()).map_err(StartError::Stdout)?;
    let refused = |source| StartError::Listen { address: config.listen(), source };
    let listener = accept::bind(config.listen()).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let lifecycle = Lifecycle::new(config.policy());
    let crash = config.exit_after().map(|after| Box::pin(sleep(after)));
    let alive = config.report_every().map(|every| {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    });
    let pod = Arc::new(Pod::new(config, announcer));
    let mut shell = Shell {
        stack: layers::stack(&pod),
        pod,
        lifecycle,
        address,
        listener: Some(listener),
        stopped,
        crash,
        alive,
        timers: FuturesUnordered::new(),
        polls: None,
        draining: None,
    };
    shell.feed(Input::Listening);
    while shell.lifecycle.phase() != Phase::Finished {
        match shell.next().await {
            Occurrence::Input(input) => shell.feed(input),
            Occurrence::Accepted(stream) => shell.serve(stream),
            Occurrence::Polled(event) => shell.pod.announcer.emit(event),
            Occurrence::DrainingTick => shell.pod.announcer.emit(Event::Draining(shell.pod.load())),
            Occurrence::Alive => shell.say_alive(),
            Occurrence::Crash => return Err(StartError::Crash),
        }
    }
    Ok(())
}

// === impl Shell ===

impl Shell {
    /// Waits for what comes first. Everything in it is safe to cancel.
    async fn next(&mut self) -> Occurrence {
        let accepted = match &self.listener {
            Some(listener) => Either::Left(async {
                self.pod.room().await;
                accept::next(listener).await
            }),
            None => Either::Right(pending()),
        };
        tokio::select! {
            biased;
            Some(()) = received(self.stopped.as_mut()) => Occurrence::Input(Input::Sigterm),
            () = over(self.crash.as_mut()) => Occurrence::Crash,
            Some(()) = tick(self.alive.as_mut()) => Occurrence::Alive,
            Some(timer) = self.timers.next() => Occurrence::Input(Input::Elapsed(timer)),
            () = self.pod.idle(), if self.lifecycle.phase() == Phase::Draining => Occurrence::Input(Input::Idle),
            Some(event) = next_of(self.polls.as_mut()) => Occurrence::Polled(event),
            Some(()) = tick(self.draining.as_mut()) => Occurrence::DrainingTick,
            stream = accepted => Occurrence::Accepted(stream),
        }
    }

    fn say_alive(&self) {
        let every = self.pod.config.report_every().unwrap_or_default();
        let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        self.pod.announcer.emit(Event::Alive { every_ns });
    }

    fn feed(&mut self, input: Input) {
        let actions = match self.lifecycle.next(input) {
            Ok(actions) => actions,
            Err(error) => {
                tracing::error!(%error, "an event was out of place");
                return;
            }
        };
        // Taken before connections learn of the new phase, because that may end some of them.
        let load = self.pod.load();
        self.pod.set_phase(self.lifecycle.phase());
        for action in actions {
            self.act(action, load);
        }
    }

    fn act(&mut self, action: Action, load: Load) {
        let announcer = &self.pod.announcer;
        match action {
            Action::AnnounceStarted => {
                announcer.emit(Event::MainStarted { listen: self.address.to_string() });
            }
            Action::AnnounceSigterm => announcer.emit(Event::Sigterm(load)),
            Action::AnnounceListenerClosed => {
                announcer.emit(Event::ListenerClosed(load));
                let mut ticks = interval(DRAINING_PERIOD);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                ticks.reset();
                self.draining = Some(ticks);
            }
            Action::AnnounceDrained { timed_out } => {
                self.draining = None;
                announcer.emit(Event::Drained { load, timed_out });
            }
            Action::AnnounceFinished => {
                announcer.emit(Event::Finished { code: i32::from(self.pod.config.exit_code()) });
            }
            Action::StartPolling => self.polls = self.pod.config.poll().cloned().map(poll::results),
            Action::Arm(timer, after) => self.timers.push(Box::pin(async move {
                sleep(after).await;
                timer
            })),
            Action::CloseListener => {
                self.close_listener();
                self.feed(Input::ListenerClosed);
            }
        }
    }

    /// Without `closeConnections` the listener is simply dropped, and the kernel resets whoever is in its queue.
    fn close_listener(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        if self.pod.config.close_connections() {
            for stream in accept::close(listener) {
                self.serve(stream);
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        let held = self.pod.hold_connection();
        tokio::spawn(connection::serve(stream, Arc::clone(&self.pod), self.stack.clone(), held));
    }
}

async fn next_of(polls: Option<&mut BoxStream<'static, Event>>) -> Option<Event> {
    match polls {
        Some(polls) => polls.next().await,
        None => None,
    }
}

async fn received(signal: Option<&mut Signal>) -> Option<()> {
    signal?.recv().await
}

/// Never, if there is nothing to be over.
async fn over(timer: Option<&mut Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => pending().await,
    }
}

const fn kind(signal: StopSignal) -> SignalKind {
    match signal {
        StopSignal::Sigterm => SignalKind::terminate(),
        StopSignal::Sigint => SignalKind::interrupt(),
        StopSignal::Sigquit => SignalKind::quit(),
        StopSignal::Sighup => SignalKind::hangup(),
        StopSignal::Sigusr1 => SignalKind::user_defined1(),
        StopSignal::Sigusr2 => SignalKind::user_defined2(),
    }
}

async fn tick(ticks: Option<&mut Interval>) -> Option<()> {
    ticks?.tick().await;
    Some(())
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop the process that holds the port, or choose another with --listen",
        io::ErrorKind::AddrNotAvailable => "the address is not one of this machine: choose one with --listen",
        io::ErrorKind::PermissionDenied => "choose a port above 1023 with --listen",
        _ => "choose another address with --listen",
    }
}
