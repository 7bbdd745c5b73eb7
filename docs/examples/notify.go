// Sends one notification through the relay, with nothing but Go's standard library.
//
//	RELAY_URL=http://localhost:8066 WEBHOOK_SECRET=whsec_… SERVER=my-server TARGET=my-app DEVICE=… go run notify.go
//
// Prints what became of each device; fails unless all were reached or wait at the relay, which then goes on trying.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type message struct {
	Target  string            `json:"target"`
	Devices []string          `json:"devices"`
	Kind    string            `json:"kind"`
	Title   string            `json:"title"`
	Body    string            `json:"body"`
	Sound   string            `json:"sound"`
	Data    map[string]string `json:"data"`
	TTL     int               `json:"ttl_s"`
}

type answer struct {
	Results []struct {
		Device  int    `json:"device"`
		Status  string `json:"status"`
		Message string `json:"message"`
	} `json:"results"`
}

func main() {
	log.SetFlags(0)
	devices := []string{os.Getenv("DEVICE")}
	body, err := json.Marshal(message{
		Target: os.Getenv("TARGET"), Devices: devices, Kind: "alert", Title: "Town Square", Body: "Hello from Go", Sound: "default",
		Data: map[string]string{"channel": "town-square"}, TTL: 3600,
	})
	if err != nil {
		log.Fatal(err)
	}
	request, err := signed(os.Getenv("RELAY_URL")+"/v1/notifications", body)
	if err != nil {
		log.Fatal(err)
	}
	client := http.Client{Timeout: 40 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	if response.StatusCode/100 != 2 {
		// The body says what is wrong and where; `code` is for programs, `retry-after` for 429 and 503.
		log.Fatalf("HTTP %d: %s", response.StatusCode, said)
	}
	var results answer
	if err := json.Unmarshal(said, &results); err != nil {
		log.Fatal(err)
	}
	reached := 0
	for _, result := range results.Results {
		switch result.Status {
		case "delivered":
			reached++
			fmt.Printf("device %d was reached\n", result.Device)
		case "queued":
			reached++
			fmt.Printf("device %d: the relay has it and goes on trying; do not send it again\n", result.Device)
		case "unregistered":
			fmt.Printf("device %d is gone: forget its token\n", result.Device)
		default:
			fmt.Printf("device %d: %s, %s\n", result.Device, result.Status, result.Message)
		}
	}
	if reached != len(devices) {
		os.Exit(1)
	}
}

// signed signs as Standard Webhooks says. Another attempt at the same message keeps the id and takes a new time.
func signed(url string, body []byte) (*http.Request, error) {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil {
		return nil, fmt.Errorf("WEBHOOK_SECRET: %w", err)
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	id, now := "msg_"+hex.EncodeToString(random[:]), strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, now, body)
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Pushrelay-Server", os.Getenv("SERVER"))
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", now)
	request.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return request, nil
}
