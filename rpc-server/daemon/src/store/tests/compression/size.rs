//! The bytes and the age of compressed segments.

use super::*;

#[tokio::test]
async fn retention_counts_the_bytes_that_compressed_segments_have_on_the_disk() {
    let dir = TempDir::new().unwrap();
    let message = "x".repeat(1000);
    let config = LogConfig {
        retention_bytes: 20_000,
        ..config(5000)
    };
    let store = open_with(dir.path(), config).unwrap();
    for _ in 0..100 {
        store.append(&entry(&message)).unwrap().await.unwrap();
        all_are_compressed(&dir, &store).await;
    }

    // Of plain ones, there would be 20 entries.
    let page = store.read(query(0)).await.unwrap();
    assert_eq!(page.entries.len(), 100);
    let (total, _) = store.stats_of_files();
    assert!(total <= 20_000, "{total}");

    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..60 {
        let message: String = std::iter::repeat_with(|| random.alphanumeric())
            .take(1000)
            .collect();
        store.append(&entry(message)).unwrap().await.unwrap();
    }
    all_are_compressed(&dir, &store).await;
    append(&store, [1]).await;
    assert!(store.stats_of_files().0 <= 20_000);
    assert!(store.extent().oldest > 1);
    let first = ending_in(dir.path(), ".zst")[0].clone();
    let first = segment::parse(first.file_name().unwrap().to_str().unwrap())
        .unwrap()
        .0;
    assert_eq!(first, store.extent().oldest);
}

#[tokio::test]
async fn compressed_segments_that_are_old_are_deleted_by_the_time_of_their_last_entry() {
    let dir = TempDir::new().unwrap();
    compressed(&dir, 20).await;
    let all = ending_in(dir.path(), ".zst");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    for file in &all[..2] {
        let file = fs::File::options().append(true).open(file).unwrap();
        file.set_modified(long_ago).unwrap();
    }

    let config = LogConfig {
        retention_age: Duration::from_secs(3600),
        ..config(360)
    };
    let store = open_with(dir.path(), config).unwrap();
    super::super::rotation::oldest_becomes(&store, 9).await;
    let begun = std::time::Instant::now();
    while ending_in(dir.path(), ".zst") != all[2..] {
        assert!(begun.elapsed() < LONG);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn twenty_shapes_of_messages_take_a_quarter_of_their_plain_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open_packing(&dir, 4 << 20);
    let mut random = fastrand::Rng::with_seed(7);
    for batch in 0..40_u64 {
        let entries: Vec<Append> = (0..1000)
            .map(|n| shaped(batch * 1000 + n, &mut random))
            .collect();
        let sent = store.append_batch("p", batch + 1, batch_of(&entries));
        sent.unwrap().outcome.await.unwrap();
    }
    all_are_compressed(&dir, &store).await;

    let packed = ending_in(dir.path(), ".zst");
    let on_disk: u64 = packed
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    let plain: usize = packed
        .iter()
        .map(|file| {
            zstd::stream::decode_all(fs::File::open(file).unwrap())
                .unwrap()
                .len()
        })
        .sum();
    assert!(plain > 3 << 20, "{plain}");
    let percent = on_disk * 100 / plain as u64;
    assert!(percent <= 25, "{on_disk} of {plain} bytes: {percent} %");
}

/// An entry as services write them: one of twenty messages, with ids, and mostly a trace.
fn shaped(n: u64, random: &mut fastrand::Rng) -> Append {
    let (id, user, ms) = (
        random.u32(..1_000_000),
        random.u32(..50_000),
        random.u32(1..2000),
    );
    let message = match random.u32(..20) {
        0 => format!("order {id} accepted"),
        1 => format!("order {id} rejected: card of user {user} was declined"),
        2 => format!("GET /v1/orders/{id} 200 in {ms} ms"),
        3 => format!("POST /v1/orders 201 in {ms} ms"),
        4 => format!("cache miss for user {user}"),
        5 => format!(
            "connected to database shop at 10.0.{}.{}:5432",
            ms % 8,
            user % 250
        ),
        6 => format!("slow query: select * from orders where user_id = {user} ({ms} ms)"),
        7 => format!("retry {} of payment {id} in {ms} ms", ms % 5),
        8 => format!("payment {id} settled"),
        9 => format!("user {user} logged in"),
        10 => format!("user {user} logged out after {ms} s"),
        11 => format!(
            "message {id} published to topic orders, partition {}",
            id % 12
        ),
        12 => format!("consumed 500 messages in {ms} ms, lag {id}"),
        13 => format!("health check of stock took {ms} ms"),
        14 => format!("token of user {user} refreshed"),
        15 => format!("stock of article {} is {}", user % 4000, ms % 100),
        16 => format!("mail to user {user} queued as {id}"),
        17 => format!("upstream stock timed out after {ms} ms; falling back to the cache"),
        18 => format!("garbage collection of sessions: {ms} of {id} removed"),
        _ => format!("worker {} idle for {ms} ms", user % 64),
    };

    Append {
        level: if random.u32(..20) == 0 {
            Level::Warn
        } else {
            Level::Info
        },
        service: ["order", "payment", "stock", "gateway"][random.usize(..4)].into(),
        message,
        ts: Some(1_735_689_600_000 + n * 3),
        trace: (random.u32(..10) < 3).then(|| format!("{:032x}", random.u128(..))),
        fields: None,
    }
}
