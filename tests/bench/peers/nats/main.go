// bench-nats: messages through a nats-server, as bench-client's channel, fanout and durable send them through zsyncd.
//
//	core URL COUNT BYTES               one publisher, one subscriber, at most once
//	fanout URL COUNT BYTES SUBSCRIBERS one publisher, many subscribers
//	stream URL memory|file COUNT BYTES BATCH  JetStream: published in the background, BATCH unanswered at most; pulled
//	                                   BATCH at a time, each acknowledged
//
// Prints one JSON object. Every message's number is compared with the one that must come next.
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Per subscription: the client drops what comes over it, and a bench must not lose any.
const pendingMessages, pendingBytes = 4 << 20, 1 << 30

func number(text string) int {
	value, err := strconv.Atoi(text)
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatalf("bench-nats: %v", err)
	}
}

func connect(url string) *nats.Conn {
	connection, err := nats.Connect(url)
	check(err)
	return connection
}

// follower counts what one subscriber gets.
type follower struct{ received, wrong uint64 }

func (f *follower) take(message *nats.Msg) {
	if binary.LittleEndian.Uint64(message.Data) != f.received {
		f.wrong++
	}
	f.received++
}

func numbered(buffer []byte, i int) []byte {
	binary.LittleEndian.PutUint64(buffer, uint64(i))
	return buffer
}

func publish(connection *nats.Conn, count, bytes int) {
	message := make([]byte, bytes)
	for i := 0; i < count; i++ {
		check(connection.Publish("bench", numbered(message, i)))
	}
	check(connection.Flush())
}

func fanout(url string, count, bytes, subscribers int) {
	followers := make([]follower, subscribers)
	var all sync.WaitGroup
	all.Add(subscribers)
	for i := range followers {
		connection, each := connect(url), &followers[i]
		subscription, err := connection.Subscribe("bench", func(message *nats.Msg) {
			each.take(message)
			if each.received == uint64(count) {
				all.Done()
			}
		})
		check(err)
		check(subscription.SetPendingLimits(pendingMessages, pendingBytes))
		check(connection.Flush())
	}
	start := time.Now()
	publish(connect(url), count, bytes)
	all.Wait()
	print(start, count*subscribers, followers)
}

func print(start time.Time, messages int, followers []follower) {
	var wrong uint64
	for _, each := range followers {
		wrong += each.wrong
	}
	fmt.Printf("{\"rate\": %f, \"wrong\": %d}\n", float64(messages)/time.Since(start).Seconds(), wrong)
}

func stream(url, storage string, count, bytes, batch int) {
	publisher, err := connect(url).JetStream(nats.PublishAsyncMaxPending(batch))
	check(err)
	subject := "bench-" + storage
	config := nats.StreamConfig{Name: "BENCH-" + storage, Subjects: []string{subject}, Storage: nats.FileStorage}
	if storage == "memory" {
		config.Storage = nats.MemoryStorage
	}
	_, err = publisher.AddStream(&config)
	check(err)
	consumer, err := connect(url).JetStream()
	check(err)
	subscription, err := consumer.PullSubscribe(subject, "bench", nats.MaxAckPending(4*batch))
	check(err)
	start := time.Now()
	go func() {
		for i := 0; i < count; i++ {
			// JetStream keeps the slice until the server has answered.
			_, err := publisher.PublishAsync(subject, numbered(make([]byte, bytes), i))
			check(err)
		}
	}()
	var one follower
	for one.received < uint64(count) {
		messages, err := subscription.Fetch(batch)
		check(err)
		for _, message := range messages {
			one.take(message)
			check(message.Ack())
		}
	}
	<-publisher.PublishAsyncComplete()
	print(start, count, []follower{one})
}

func main() {
	words := os.Args[1:]
	switch {
	case len(words) == 4 && words[0] == "core":
		fanout(words[1], number(words[2]), number(words[3]), 1)
	case len(words) == 5 && words[0] == "fanout":
		fanout(words[1], number(words[2]), number(words[3]), number(words[4]))
	case len(words) == 6 && words[0] == "stream":
		stream(words[1], words[2], number(words[3]), number(words[4]), number(words[5]))
	default:
		log.Fatal("bench-nats: core URL COUNT BYTES | fanout URL COUNT BYTES SUBSCRIBERS | stream URL STORAGE COUNT BYTES BATCH")
	}
}
