// Read by jemalloc when a program starts: what was freed goes back to the system after a second
// rather than ten, so that what a service takes goes by what it holds and not by how fast records
// pass through it. $MALLOC_CONF is read behind it.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "dirty_decay_ms:1000";
}
