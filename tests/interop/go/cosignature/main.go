// A second implementation of C2SP tlog-cosignature (cosignature/v1), on Go's own note package.
//
//	cosignature open NOTE-FILE LOG-VKEY WITNESS-VKEY   prints size and time of a co-signed checkpoint
//	cosignature sign NOTE-FILE NAME SEED-HEX TIME      prints the co-signature line
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const algCosignatureV1 = 4

type witness struct {
	name   string
	hash   uint32
	public ed25519.PublicKey
	time   uint64
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }

func (w *witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	w.time = binary.BigEndian.Uint64(sig)
	return ed25519.Verify(w.public, message(msg, w.time), sig[8:])
}

func message(text []byte, time uint64) []byte {
	return append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", time)), text...)
}

func keyHash(name string, public []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), append([]byte{algCosignatureV1}, public...)...))
	return binary.BigEndian.Uint32(sum[:])
}

func newWitness(vkey string) (*witness, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("no vkey")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algCosignatureV1 {
		return nil, errors.New("no cosignature/v1 vkey")
	}
	hash := keyHash(parts[0], key[1:])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		return nil, errors.New("wrong key id")
	}
	return &witness{name: parts[0], hash: hash, public: key[1:]}, nil
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	raw, err := os.ReadFile(os.Args[2])
	must(err)
	switch os.Args[1] {
	case "open":
		log, err := note.NewVerifier(os.Args[3])
		must(err)
		who, err := newWitness(os.Args[4])
		must(err)
		opened, err := note.Open(raw, note.VerifierList(log, who))
		must(err)
		if len(opened.Sigs) != 2 || len(opened.UnverifiedSigs) != 0 {
			must(errors.New("not one signature of the log and one of the witness"))
		}
		fmt.Println(strings.Split(opened.Text, "\n")[1], who.time)
	case "sign":
		name := os.Args[3]
		seed, err := hex.DecodeString(os.Args[4])
		must(err)
		time, err := strconv.ParseUint(os.Args[5], 10, 63)
		must(err)
		key := ed25519.NewKeyFromSeed(seed)
		text := string(raw[:strings.LastIndex(string(raw), "\n\n")+1])
		blob := make([]byte, 12)
		binary.BigEndian.PutUint32(blob, keyHash(name, key.Public().(ed25519.PublicKey)))
		binary.BigEndian.PutUint64(blob[4:], time)
		blob = append(blob, ed25519.Sign(key, message([]byte(text), time))...)
		fmt.Printf("\u2014 %s %s\n", name, base64.StdEncoding.EncodeToString(blob))
	}
}
