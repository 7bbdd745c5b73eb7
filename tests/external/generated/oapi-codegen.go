// Sends one message with the client that oapi-codegen made.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"example.com/generated/relay"
)

func main() {
	signing, err := newSigning()
	if err != nil {
		log.Fatal(err)
	}
	client, err := relay.NewClientWithResponses(os.Getenv("RELAY_URL"), relay.WithHTTPClient(&http.Client{Transport: signing}))
	if err != nil {
		log.Fatal(err)
	}
	title, body := "Generated", "Hello"
	message := relay.Message{Target: os.Getenv("TARGET"), Devices: []string{os.Getenv("DEVICE")}, Kind: relay.Alert, Title: &title, Body: &body}
	answer, err := client.NotifyWithResponse(context.Background(), &relay.NotifyParams{PushrelayServer: os.Getenv("SERVER")}, message)
	if err != nil {
		log.Fatal(err)
	}
	if answer.JSON200 == nil {
		log.Fatalf("refused: %s: %s", answer.Status(), answer.Body)
	}
	if status := answer.JSON200.Results[0].Status; status != "delivered" && status != "queued" {
		log.Fatalf("not delivered: %s", answer.Body)
	}
}
