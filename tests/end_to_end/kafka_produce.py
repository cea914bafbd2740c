"""Puts raw bytes on a topic, past everything of ours: librdkafka by its C interface."""

import ctypes
import ctypes.util

PRODUCER = 0
END, TOPIC, PARTITION, VALUE, KEY, HEADER = 0, 1, 3, 4, 5, 9


def produce(bootstrap_servers, topic, partition, key, value, headers=()):
    """One record; returns when it is acknowledged."""
    library = ctypes.CDLL(ctypes.util.find_library("rdkafka") or "librdkafka.so.1")
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_new.restype = ctypes.c_void_p
    error = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    for option, text in ((b"bootstrap.servers", bootstrap_servers.encode()), (b"acks", b"all"),
                         (b"message.timeout.ms", b"20000")):
        if library.rd_kafka_conf_set(conf, option, text, error, ctypes.c_size_t(512)) != 0:
            raise OSError(error.value.decode())
    client = library.rd_kafka_new(PRODUCER, conf, error, ctypes.c_size_t(512))
    if not client:
        raise OSError(error.value.decode())
    client = ctypes.c_void_p(client)

    def number(value):
        return ctypes.c_int(value)

    def bytes_of(value):
        return value, ctypes.c_size_t(len(value))
    arguments = [number(TOPIC), topic.encode(), number(PARTITION), ctypes.c_int32(partition),
                 number(KEY), *bytes_of(key), number(VALUE), *bytes_of(value)]
    for name, text in headers:
        arguments += [number(HEADER), name.encode(), text.encode(), ctypes.c_ssize_t(len(text))]
    try:
        if library.rd_kafka_producev(client, *arguments, number(END)) != 0:
            raise OSError(f"{topic}: the record was not taken")
        if library.rd_kafka_flush(client, 25000) != 0:
            raise OSError(f"{topic}: the record was not acknowledged")
    finally:
        library.rd_kafka_destroy(client)
