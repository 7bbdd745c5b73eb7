// Sends one message with the client that openapi-generator made.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"

	relay "example.com/generated/relay"
)

func main() {
	signing, err := newSigning()
	if err != nil {
		log.Fatal(err)
	}
	configuration := relay.NewConfiguration()
	configuration.HTTPClient = &http.Client{Transport: signing}
	configuration.Servers = relay.ServerConfigurations{{URL: os.Getenv("RELAY_URL")}}
	message := relay.NewMessage(os.Getenv("TARGET"), []string{os.Getenv("DEVICE")}, "alert")
	message.SetTitle("Generated")
	message.SetBody("Hello")
	call := relay.NewAPIClient(configuration).ProgramsAPI.Notify(context.Background())
	results, response, err := call.PushrelayServer(os.Getenv("SERVER")).Message(*message).Execute()
	if err != nil {
		if response != nil {
			said, _ := io.ReadAll(response.Body)
			log.Fatalf("%v: %s", err, said)
		}
		log.Fatal(err)
	}
	if status := results.Results[0].GetStatus(); status != "delivered" && status != "queued" {
		log.Fatalf("not delivered: %s", status)
	}
}
