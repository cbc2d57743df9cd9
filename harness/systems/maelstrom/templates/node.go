// A node that speaks Maelstrom's protocol: a store of keys and values, and an echo. It needs Go's standard library alone.
//
// The first node keeps the keys, in its memory. The others pass requests on to it. Build it, and test it under faults:
//
//	BUILD
//	consensus test ./NAME --workload lin-kv --nodes 3 --faults suspend,partition
//	consensus test ./NAME --workload lin-kv --nodes 3 --faults kill
//
// The last command finds that it forgets what it has acknowledged when it is killed. To mend that is up to you.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
)

// Body is what a message carries: its type, and what belongs to the type.
type Body map[string]any

// Message is one line.
type Message struct {
	Src  string `json:"src"`
	Dest string `json:"dest"`
	Body Body   `json:"body"`
}

var (
	id      string
	first   string                       // the node that keeps the keys
	keys    = map[string]any{}           // by the key as JSON text
	waiting = map[string]func(Body){}    // by the number of a request of ours: what to do with the answer
	last    int                          // the number of our last request
	output  = json.NewEncoder(os.Stdout) // writes each message as a line, at once
)

// send sends a message to a node or a client.
func send(dest string, body Body) {
	if err := output.Encode(Message{id, dest, body}); err != nil {
		log.Fatal(err)
	}
}

// reply answers a request.
func reply(request Message, body Body) {
	send(request.Src, with(body, "in_reply_to", request.Body["msg_id"]))
}

// ask sends a request to another node, and calls then with the body of its answer, if one comes.
func ask(dest string, body Body, then func(Body)) {
	last++
	waiting[fmt.Sprint(last)] = then
	send(dest, with(body, "msg_id", last))
}

// with returns a copy of a body in which one field is another one.
func with(body Body, name string, value any) Body {
	changed := Body{}
	for each, item := range body {
		changed[each] = item
	}
	changed[name] = value
	return changed
}

// call serves a call on a key here, or passes it on to the first node.
func call(request Message) {
	if id == first {
		reply(request, apply(request.Body))
		return
	}
	ask(first, request.Body, func(answer Body) { reply(request, answer) })
}

// apply carries out a call, and returns the body of its answer.
func apply(body Body) Body {
	key := text(body["key"])
	value, known := keys[key]
	switch {
	case body["type"] == "write":
		keys[key] = body["value"]
		return Body{"type": "write_ok"}
	case !known:
		return Body{"type": "error", "code": 20, "text": "there is no such key"}
	case body["type"] == "read":
		return Body{"type": "read_ok", "value": value}
	case text(value) != text(body["from"]):
		return Body{"type": "error", "code": 22, "text": "the value is " + text(value)}
	}
	keys[key] = body["to"]
	return Body{"type": "cas_ok"}
}

// text returns a value as JSON text.
func text(value any) string {
	found, err := json.Marshal(value)
	if err != nil {
		log.Fatal(err)
	}
	return string(found)
}

func handle(message Message) {
	body := message.Body
	if number, isAnswer := body["in_reply_to"]; isAnswer {
		if then := waiting[fmt.Sprint(number)]; then != nil { // else it is an answer that came again
			delete(waiting, fmt.Sprint(number))
			then(body)
		}
		return
	}
	switch body["type"] {
	case "init":
		id, first = body["node_id"].(string), body["node_ids"].([]any)[0].(string)
		reply(message, Body{"type": "init_ok"})
	case "echo":
		reply(message, Body{"type": "echo_ok", "echo": body["echo"]})
	case "read", "write", "cas":
		call(message)
	default:
		reply(message, Body{"type": "error", "code": 10, "text": fmt.Sprint("this node does not know ", body["type"])})
	}
}

func main() {
	log.Print("ready") // what is for people goes to standard error
	input := json.NewDecoder(os.Stdin)
	input.UseNumber() // numbers stay as they are written
	for {
		var message Message
		if err := input.Decode(&message); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		handle(message)
	}
}
