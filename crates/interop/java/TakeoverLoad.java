import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/**
 * Every kind of Kafka client at once, in one process, beside a change of controllers: producers that wait for
 * all replicas, an idempotent one, a transactional one, a consumer group, an administrator. Remembers what was
 * acknowledged; at the end reads everything back and says what is missing or there twice.
 *
 * Arguments: bootstrap servers, replication factor. Each line on standard input is printed again with the
 * longest pauses since the last mark, and the counts; a line with " mark " in it is such a mark. "finish"
 * verifies, prints the verdict and ends with 0 or 1.
 */
public class TakeoverLoad {
    /** One stream of acknowledgements, with the longest pause between two. */
    static final class Stream {
        final String name;
        private long last = System.nanoTime();
        private long longest;
        private long count;

        Stream(String name) {
            this.name = name;
        }

        synchronized void ack() {
            long now = System.nanoTime();
            longest = Math.max(longest, now - last);
            last = now;
            count++;
        }

        synchronized long count() {
            return count;
        }

        /** "name=milliseconds" of the longest pause, one that still lasts included; may start anew. */
        synchronized String pause(boolean anew) {
            long now = System.nanoTime();
            long pause = Math.max(longest, now - last);
            if (anew) {
                longest = 0;
                last = now;
            }
            return name + "=" + TimeUnit.NANOSECONDS.toMillis(pause);
        }
    }

    static final String PLAIN = "load-plain";
    static final String IDEMPOTENT = "load-idempotent";
    static final String TRANSACTIONS = "load-transactions";
    static final int PARTITIONS = 3;

    static String bootstrap;
    static short replicas;
    static volatile boolean stopping;
    static final List<String> problems = Collections.synchronizedList(new ArrayList<>());

    static final Stream plain = new Stream("plain");
    static final Stream idempotent = new Stream("idempotent");
    static final Stream transactions = new Stream("transactions");
    static final Stream consumed = new Stream("consumed");
    static final Stream admin = new Stream("admin");

    static final Set<String> plainAcked = ConcurrentHashMap.newKeySet();
    static final Set<String> idempotentAcked = ConcurrentHashMap.newKeySet();
    static final Set<String> committed = ConcurrentHashMap.newKeySet();
    static final Set<String> aborted = ConcurrentHashMap.newKeySet();
    static final Set<String> seenByGroup = ConcurrentHashMap.newKeySet();

    /** What a topic must look like. */
    record Wanted(int partitions, String retention, String maxMessage) {
    }

    static final Map<String, Wanted> wanted = new TreeMap<>();
    static final Set<String> deleted = new HashSet<>();

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        replicas = Short.parseShort(args[1]);
        try (Admin client = Admin.create(properties())) {
            List<NewTopic> topics = new ArrayList<>();
            for (String name : List.of(PLAIN, IDEMPOTENT, TRANSACTIONS)) {
                topics.add(new NewTopic(name, PARTITIONS, replicas));
            }
            client.createTopics(topics).all().get();
        }
        List<Thread> threads = List.of(
            new Thread(() -> produce(PLAIN, plain, plainAcked, "false"), "plain"),
            new Thread(() -> produce(IDEMPOTENT, idempotent, idempotentAcked, "true"), "idempotent"),
            new Thread(TakeoverLoad::transact, "transactions"),
            new Thread(TakeoverLoad::administer, "admin"));
        Thread group = new Thread(TakeoverLoad::consume, "group");
        threads.forEach(Thread::start);
        group.start();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null && !line.equals("finish"); line = in.readLine()) {
            boolean anew = line.contains(" mark ");
            System.out.println(line + " " + String.join(" ", plain.pause(anew), idempotent.pause(anew),
                transactions.pause(anew), consumed.pause(anew), admin.pause(anew)) + " counts=" + counts());
        }
        stopping = true;
        for (Thread thread : threads) {
            thread.join();
        }
        verify();
        groupMayStop = true;
        group.join();
        System.out.println("total counts=" + counts());
        problems.stream().limit(20).forEach(problem -> System.out.println("PROBLEM " + problem));
        System.out.println(problems.isEmpty() ? "VERDICT ok" : "VERDICT bad");
        System.exit(problems.isEmpty() ? 0 : 1);
    }

    static volatile boolean groupMayStop;

    static String counts() {
        return plain.count() + "," + idempotent.count() + "," + transactions.count() + "," + consumed.count()
            + "," + admin.count();
    }

    static Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        properties.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        properties.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        properties.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        return properties;
    }

    static void pause(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    static void problem(String what, Throwable why) {
        problems.add(what + ": " + why);
    }

    static void produce(String topic, Stream stream, Set<String> acked, String idempotence) {
        Properties properties = properties();
        properties.put("acks", "all");
        properties.put("enable.idempotence", idempotence);
        // Of two requests in flight the later may otherwise be written first.
        properties.put("max.in.flight.requests.per.connection", idempotence.equals("true") ? "5" : "1");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties)) {
            // Alone and first: a broker takes any sequence number from a producer that it does not know, so of
            // several batches to a partition whose leader is new the second may get in before the first.
            for (int partition = 0; partition < PARTITIONS; partition++) {
                String value = topic + "-first-" + partition;
                producer.send(new ProducerRecord<>(topic, partition, value, value)).get();
                acked.add(value);
            }
            for (long number = 0; !stopping; number++) {
                String value = topic + "-" + number;
                producer.send(new ProducerRecord<>(topic, value, value), (metadata, error) -> {
                    if (error == null) {
                        acked.add(value);
                        stream.ack();
                    } else {
                        problem("send of " + value, error);
                    }
                });
                pause(10);
            }
        } catch (RuntimeException | InterruptedException | ExecutionException e) {
            problem("producer of " + topic, e);
        }
    }

    static void transact() {
        Properties properties = properties();
        properties.put("transactional.id", "takeover");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties)) {
            producer.initTransactions();
            for (long number = 0; !stopping; number++) {
                producer.beginTransaction();
                List<String> values = new ArrayList<>();
                for (int of = 0; of < 3; of++) {
                    String value = "transaction-" + number + "-" + of;
                    values.add(value);
                    producer.send(new ProducerRecord<>(TRANSACTIONS, value, value));
                }
                if (number % 7 == 6) {
                    producer.flush();
                    producer.abortTransaction();
                    aborted.addAll(values);
                } else {
                    producer.commitTransaction();
                    committed.addAll(values);
                }
                transactions.ack();
                pause(20);
            }
        } catch (RuntimeException e) {
            problem("transactional producer", e);
        }
    }

    static void consume() {
        Properties properties = properties();
        properties.put("group.id", "takeover");
        properties.put("isolation.level", "read_committed");
        properties.put("auto.offset.reset", "earliest");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties)) {
            consumer.subscribe(List.of(PLAIN, IDEMPOTENT, TRANSACTIONS));
            while (!groupMayStop) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    seenByGroup.add(record.value());
                    consumed.ack();
                }
                consumer.commitSync();
            }
        } catch (RuntimeException e) {
            problem("consumer group", e);
        }
    }

    interface Request {
        KafkaFuture<?> send() throws Exception;
    }

    /** Sends until it is acknowledged; an error that says "has happened already" counts as that. */
    static void until(String what, Class<? extends Exception> already, Request request) throws Exception {
        for (int attempt = 0;; attempt++) {
            try {
                request.send().get();
                break;
            } catch (ExecutionException e) {
                // An earlier attempt, by this client or by the broker that forwards, had its effect.
                if (already.isInstance(e.getCause())) {
                    break;
                }
                if (!(e.getCause() instanceof RetriableException) || attempt > 100) {
                    throw e;
                }
                pause(20);
            }
        }
        admin.ack();
    }

    static void administer() {
        try (Admin client = Admin.create(properties())) {
            for (int number = 0; !stopping; number++) {
                String name = "admin-" + number;
                Map<String, String> configs = Map.of("retention.ms", String.valueOf(3_600_000 + number));
                NewTopic topic = new NewTopic(name, 1, replicas).configs(configs);
                until("create " + name, TopicExistsException.class,
                    () -> client.createTopics(List.of(topic)).all());
                Wanted now = new Wanted(1, String.valueOf(3_600_000 + number), null);
                if (number % 3 == 1) {
                    String size = String.valueOf(100_000 + number);
                    ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name);
                    Collection<AlterConfigOp> ops = List.of(new AlterConfigOp(
                        new ConfigEntry("max.message.bytes", size), AlterConfigOp.OpType.SET));
                    known(client, name);
                    until("configure " + name, TopicExistsException.class,
                        () -> client.incrementalAlterConfigs(Map.of(resource, ops)).all());
                    now = new Wanted(now.partitions, now.retention, size);
                }
                if (number % 4 == 2) {
                    known(client, name);
                    until("add partitions to " + name, InvalidPartitionsException.class,
                        () -> client.createPartitions(Map.of(name, NewPartitions.increaseTo(2))).all());
                    now = new Wanted(2, now.retention, now.maxMessage);
                }
                wanted.put(name, now);
                // Few stay: brokers open files for each.
                String old = "admin-" + (number - 5);
                if (number >= 5 && number % 8 != 0 && wanted.containsKey(old)) {
                    until("delete " + old, UnknownTopicOrPartitionException.class,
                        () -> client.deleteTopics(List.of(old)).all());
                    wanted.remove(old);
                    deleted.add(old);
                }
                pause(150);
            }
        } catch (Exception e) {
            problem("administrator", e);
        }
    }

    /** A broker's answer about a topic may be older than its creation. */
    static void known(Admin client, String name) throws Exception {
        for (int attempt = 0; attempt < 500; attempt++) {
            try {
                client.describeTopics(List.of(name)).allTopicNames().get();
                return;
            } catch (ExecutionException e) {
                if (!(e.getCause() instanceof UnknownTopicOrPartitionException)) {
                    throw e;
                }
                pause(20);
            }
        }
    }

    static void verify() {
        try {
            Map<String, Integer> plainRead = read(PLAIN);
            missing("records of " + PLAIN, plainAcked, plainRead.keySet());
            Map<String, Integer> idempotentRead = read(IDEMPOTENT);
            missing("records of " + IDEMPOTENT, idempotentAcked, idempotentRead.keySet());
            twice(IDEMPOTENT, idempotentRead);
            Map<String, Integer> transactionsRead = read(TRANSACTIONS);
            missing("committed records", committed, transactionsRead.keySet());
            twice(TRANSACTIONS, transactionsRead);
            for (String value : aborted) {
                if (transactionsRead.containsKey(value)) {
                    problems.add("aborted, but there: " + value);
                }
            }
            Set<String> all = new HashSet<>(plainAcked);
            all.addAll(idempotentAcked);
            all.addAll(committed);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (!seenByGroup.containsAll(all) && System.nanoTime() < deadline) {
                pause(100);
            }
            missing("records that the group has not seen", all, seenByGroup);
            verifyTopics();
        } catch (Exception e) {
            problem("verification", e);
        }
    }

    /** How often each value is there, read to the end as of now, committed only. */
    static Map<String, Integer> read(String topic) {
        Properties properties = properties();
        properties.put("isolation.level", "read_committed");
        Map<String, Integer> found = new HashMap<>();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties)) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (int index = 0; index < PARTITIONS; index++) {
                partitions.add(new TopicPartition(topic, index));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (partitions.stream().anyMatch(it -> consumer.position(it) < ends.get(it))) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    found.merge(record.value(), 1, Integer::sum);
                }
                if (System.nanoTime() > deadline) {
                    problems.add("cannot read " + topic + " to its end");
                    break;
                }
            }
        }
        return found;
    }

    static void missing(String what, Set<String> expected, Set<String> found) {
        List<String> lost = expected.stream().filter(value -> !found.contains(value)).toList();
        if (!lost.isEmpty()) {
            problems.add(lost.size() + " " + what + " are lost, like " + lost.get(0));
        }
    }

    static void twice(String topic, Map<String, Integer> found) {
        found.forEach((value, count) -> {
            if (count > 1) {
                problems.add(topic + " holds " + value + " " + count + " times");
            }
        });
    }

    static void verifyTopics() throws Exception {
        try (Admin client = Admin.create(properties())) {
            String last = "";
            for (int attempt = 0; attempt < 300; attempt++) {
                last = topicsDiffer(client);
                if (last == null) {
                    return;
                }
                pause(100);
            }
            problems.add(last);
        }
    }

    /** The first difference between what was acknowledged and what is there; null for none. */
    static String topicsDiffer(Admin client) throws Exception {
        Set<String> names = client.listTopics().names().get();
        for (String name : deleted) {
            if (names.contains(name)) {
                return "deleted, but there: " + name;
            }
        }
        for (String name : wanted.keySet()) {
            if (!names.contains(name)) {
                return "created, but not there: " + name;
            }
        }
        Map<String, TopicDescription> shown = client.describeTopics(wanted.keySet()).allTopicNames().get();
        List<ConfigResource> resources = wanted.keySet().stream()
            .map(name -> new ConfigResource(ConfigResource.Type.TOPIC, name)).toList();
        Map<ConfigResource, Config> configs = client.describeConfigs(resources).all().get();
        for (Map.Entry<String, Wanted> entry : wanted.entrySet()) {
            Config config = configs.get(new ConfigResource(ConfigResource.Type.TOPIC, entry.getKey()));
            Wanted want = entry.getValue();
            int partitions = shown.get(entry.getKey()).partitions().size();
            String retention = config.get("retention.ms").value();
            String size = config.get("max.message.bytes").value();
            if (partitions != want.partitions || !want.retention.equals(retention)
                || want.maxMessage != null && !want.maxMessage.equals(size)) {
                return entry.getKey() + " has " + partitions + " partitions, retention.ms " + retention
                    + ", max.message.bytes " + size + "; acknowledged was " + want;
            }
        }
        return null;
    }
}
