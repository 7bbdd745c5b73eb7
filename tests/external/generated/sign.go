package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// signing signs each request as Standard Webhooks says, whatever client made it.
type signing struct{ secret []byte }

func newSigning() (signing, error) {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	return signing{secret}, err
}

// RoundTrip reads the body as it will be sent, since that is what the signature covers.
func (s signing) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	id, now := "msg_"+hex.EncodeToString(random[:]), strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(id + "." + now + "."))
	mac.Write(body)
	request.Header.Set("webhook-id", id)
	request.Header.Set("webhook-timestamp", now)
	request.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return http.DefaultTransport.RoundTrip(request)
}
