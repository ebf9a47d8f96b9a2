// Makes a video from a picture and a prompt: submits it, asks until it is final, and saves it.
// Standard library only.
//
//	SORA_URL=http://127.0.0.1:8080 SORA_KEY=sk-… go run generate.go image.png '参考配图，使得动物们活跃起来' video.mp4
//
// With SORA_CALLBACK_URL it ends once the video is accepted: the gateway tells that URL when it is final (receive.go).
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

type Video struct {
	ID       string
	Status   string
	Progress int
	URL      string
	Content  struct {
		Bytes  int64
		SHA256 string
	}
	Error Reason
}

type Reason struct{ Code, Message, Param string }

var (
	videos      = "http://127.0.0.1:8080/v1/videos"
	callbackURL = os.Getenv("SORA_CALLBACK_URL")
	gateway     = http.Client{Timeout: time.Minute}
	downloads   = http.Client{Timeout: time.Hour}
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: go run generate.go IMAGE PROMPT [TARGET]")
	}
	image, prompt, target := os.Args[1], os.Args[2], "video.mp4"
	if len(os.Args) > 3 {
		target = os.Args[3]
	}
	if url := os.Getenv("SORA_URL"); url != "" {
		videos = url + "/v1/videos"
	}
	if err := generate(image, prompt, target); err != nil {
		log.Fatal(err)
	}
}

func generate(image, prompt, target string) error {
	video, err := submit(image, prompt)
	if err != nil {
		return err
	}
	fmt.Println(video.ID, "is accepted")
	if callbackURL != "" {
		return nil
	}
	for video.Status == "queued" || video.Status == "in_progress" {
		var after time.Duration
		if video, after, err = ask("GET", videos+"/"+video.ID, http.Header{}, nil); err != nil {
			return err
		}
		fmt.Println(video.Status, video.Progress, "%")
		time.Sleep(after)
	}
	if video.Status != "completed" {
		return fmt.Errorf("%s %s: %s (code %s)", video.ID, video.Status, video.Error.Message, video.Error.Code)
	}
	return save(video, target)
}

func submit(image, prompt string) (Video, error) {
	picture, err := os.ReadFile(image)
	if err != nil {
		return Video{}, err
	}
	var body bytes.Buffer // writing to memory never fails
	form := multipart.NewWriter(&body)
	form.WriteField("prompt", prompt)
	form.WriteField("size", "1280x720")
	form.WriteField("seconds", "4")
	if callbackURL != "" {
		form.WriteField("callback_url", callbackURL)
	}
	part, _ := form.CreateFormFile("input_reference", filepath.Base(image))
	part.Write(picture)
	form.Close()
	key := make([]byte, 16)
	rand.Read(key) // in a backend: what the video is for, such as the order's number
	header := http.Header{"Content-Type": {form.FormDataContentType()}, "Idempotency-Key": {hex.EncodeToString(key)}}
	video, _, err := ask("POST", videos, header, body.Bytes())
	return video, err
}

func save(video Video, target string) error {
	// The link carries its own permission and is good for a day: the key stays out of it.
	answer, err := downloads.Get(video.URL)
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
	if _, err = io.Copy(io.MultiWriter(file, digest, &progress{total: video.Content.Bytes}), answer.Body); err != nil {
		return err
	}
	if hex.EncodeToString(digest.Sum(nil)) != video.Content.SHA256 {
		return errors.New("the download is damaged")
	}
	if err = file.Close(); err != nil {
		return err
	}
	if err = os.Rename(target+".part", target); err != nil { // half a file never bears the name of a whole one
		return err
	}
	fmt.Println("\nsaved", target)
	return nil
}

type progress struct{ done, total int64 }

func (p *progress) Write(block []byte) (int, error) {
	p.done += int64(len(block))
	fmt.Printf("\r%d of %d bytes", p.done, p.total)
	return len(block), nil
}

// ask returns a video, and after how long to ask again. Every request may be repeated, the POST too: under one
// Idempotency-Key it makes one video, however often it arrives.
func ask(method, url string, header http.Header, body []byte) (video Video, after time.Duration, err error) {
	header.Set("Authorization", "Bearer "+os.Getenv("SORA_KEY"))
	for tries := 1; ; tries++ {
		status, answer, text, err := once(method, url, header, body)
		if err == nil && status < 300 {
			milliseconds, _ := strconv.Atoi(answer.Get("openai-poll-after-ms"))
			err = json.Unmarshal(text, &video)
			return video, time.Duration(milliseconds) * time.Millisecond, err
		}
		passing := err != nil || status >= 500 || status == http.StatusTooManyRequests
		if err == nil {
			err = refusal(status, text)
		}
		if !passing || tries == 5 {
			return video, 0, err
		}
		pause := time.Duration(tries*tries) * time.Second / 2
		if seconds, no := strconv.Atoi(answer.Get("Retry-After")); no == nil {
			pause = time.Duration(seconds) * time.Second
		}
		time.Sleep(pause)
	}
}

func once(method, url string, header http.Header, body []byte) (int, http.Header, []byte, error) {
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header = header
	answer, err := gateway.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header, text, err
}

func refusal(status int, text []byte) error {
	var told struct{ Error Reason }
	if json.Unmarshal(text, &told) != nil || told.Error.Message == "" { // a proxy's answer, not the gateway's
		return fmt.Errorf("HTTP %d: %.300s", status, text)
	}
	return fmt.Errorf("HTTP %d: %s (code %s, param %s)", status, told.Error.Message, told.Error.Code, told.Error.Param)
}
