// Read by jemalloc when a program starts, so that what a service takes goes by what it holds and
// not by how fast records pass through it: what was freed goes back to the system after a fiftieth
// of a second rather than ten, and all threads share one arena, since messages are made by
// librdkafka's threads and freed by the stage's, and each arena would keep its own for that time.
// $MALLOC_CONF is read behind it.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "narenas:1,dirty_decay_ms:20";
}
