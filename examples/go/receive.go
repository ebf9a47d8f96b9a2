// Receives callbacks: verifies each, answers at once, and saves the finished videos. It needs no API key.
// Standard library only.
//
//	SORA_WEBHOOK_SECRET=whsec_… PORT=9000 go run receive.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type Event struct {
	Type string
	Data struct {
		ID      string
		URL     string
		Content struct{ SHA256 string }
		Error   struct{ Code, Message string }
	}
}

// In a backend both are in the database: what was answered with 204 is not sent again.
var (
	events = make(chan Event, 100)
	seen   sync.Map
)

func main() {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("SORA_WEBHOOK_SECRET"), "whsec_"))
	if err != nil || len(secret) == 0 {
		log.Fatal("SORA_WEBHOOK_SECRET is no webhook secret")
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	http.HandleFunc("/hook", func(writer http.ResponseWriter, request *http.Request) {
		receive(secret, writer, request)
	})
	go work()
	server := http.Server{Addr: "127.0.0.1:" + port, ReadTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func receive(secret []byte, writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, 1<<20))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var event Event
	if err = verify(secret, request.Header, body); err == nil {
		err = json.Unmarshal(body, &event)
	}
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	// A repeat has the id of the first.
	if _, repeated := seen.LoadOrStore(request.Header.Get("webhook-id"), true); !repeated {
		events <- event
	}
	writer.WriteHeader(http.StatusNoContent)
}

// verify checks a signature of Standard Webhooks: the HMAC of "id.timestamp.body", at most five minutes off.
func verify(secret []byte, header http.Header, body []byte) error {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("the timestamp is more than five minutes off")
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for _, signature := range strings.Fields(header.Get("webhook-signature")) { // several while a secret is rotated
		if hmac.Equal([]byte(signature), expected) { // in constant time
			return nil
		}
	}
	return errors.New("no signature matches")
}

func work() {
	for event := range events {
		video := event.Data
		switch event.Type {
		case "video.completed":
			target := video.ID + ".mp4"
			if err := save(video.URL, video.Content.SHA256, target); err != nil {
				fmt.Printf("%s is not saved: %v\n", video.ID, err)
			} else {
				fmt.Printf("%s is saved: %s\n", video.ID, target)
			}
		case "video.failed":
			fmt.Printf("%s failed: %s (code %s)\n", video.ID, video.Error.Message, video.Error.Code)
		default:
			fmt.Println(video.ID, event.Type)
		}
	}
}

func save(url, sha256sum, target string) error {
	answer, err := (&http.Client{Timeout: time.Hour}).Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the link was answered with HTTP %s", answer.Status)
	}
	file, err := os.Create(target + ".part")
	if err != nil {
		return err
	}
	defer file.Close()
	digest := sha256.New()
	if _, err = io.Copy(io.MultiWriter(file, digest), answer.Body); err != nil {
		return err
	}
	if hex.EncodeToString(digest.Sum(nil)) != sha256sum {
		return errors.New("the download is damaged")
	}
	if err = file.Close(); err != nil {
		return err
	}
	return os.Rename(target+".part", target) // half a file never bears the name of a whole one
}
