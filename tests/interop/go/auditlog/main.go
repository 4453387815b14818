// Command auditlog verifies a gate's log with nothing of the gate's own code: only Go's standard
// library and golang.org/x/mod/sumdb (note, tlog), which other people wrote for another log.
//
//	auditlog verify LOG VKEY [KEPT_CHECKPOINT...]
//	auditlog proof FILE VKEY [RECORD_FILE]
//	auditlog sign SKEY TEXT
//
// LOG is a folder (an export or a mirror) or the address of a log that a gate serves, such as
// http://127.0.0.1:8444/log. It reads C2SP tlog-tiles. Exit code 1 and one line when not verified.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8 // 256 hashes in a tile

// samples is how many records of a long log get an inclusion proof of their own, about.
const samples = 400

var client = &http.Client{Timeout: 30 * time.Second}

// a log in a folder or behind an address
type source string

func (s source) read(name string) ([]byte, error) {
	if !strings.HasPrefix(string(s), "http://") && !strings.HasPrefix(string(s), "https://") {
		return os.ReadFile(filepath.Join(string(s), filepath.FromSlash(name)))
	}
	answer, err := client.Get(strings.TrimSuffix(string(s), "/") + "/" + name)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", name, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, 1<<25))
}

// tiles is what tlog.TileHashReader asks. It keeps the tiles that were authenticated.
type tiles struct {
	log  source
	kept map[string][]byte
}

func (t tiles) Height() int { return height }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		if raw, ok := t.kept[path(tile)]; ok {
			all = append(all, raw)
			continue
		}
		raw, err := t.log.read(path(tile))
		if err != nil {
			return nil, err
		}
		if len(raw) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path(tile), len(raw))
		}
		all = append(all, raw)
	}
	return all, nil
}

func (t tiles) SaveTiles(saved []tlog.Tile, data [][]byte) {
	for i, tile := range saved {
		t.kept[path(tile)] = data[i]
	}
}

// path returns a tile's path in C2SP tlog-tiles: Go's own names the height as well.
func path(tile tlog.Tile) string {
	name := strings.TrimPrefix(tile.Path(), "tile/8/")
	return "tile/" + strings.Replace(name, "data/", "entries/", 1)
}

func open(raw []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, errors.New("not a size")
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

func verify(log source, vkey string, kept []string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	raw, err := log.read("checkpoint")
	if err != nil {
		return err
	}
	tree, err := open(raw, verifier)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	notes, err := others(log, kept)
	if err != nil {
		return err
	}
	if tree.N == 0 {
		empty, _ := tlog.TreeHash(0, nil)
		if tree.Hash != empty {
			return errors.New("the empty log has another root")
		}
		fmt.Println("verified 0 records, 0 pruned, 0 inclusion proofs, 0 earlier checkpoints")
		return nil
	}
	// Every tile that this reader hands out was authenticated against the signed root.
	reader := tlog.TileHashReader(tree, tiles{log, map[string][]byte{}})
	pruned, err := entries(log, tree, reader)
	if err != nil {
		return err
	}
	proofs, err := inclusion(tree, reader)
	if err != nil {
		return err
	}
	earlier := 0
	for _, raw := range notes {
		old, err := open(raw, verifier)
		if err != nil {
			return fmt.Errorf("an earlier checkpoint: %w", err)
		}
		if err := consistent(old, tree, reader); err != nil {
			return fmt.Errorf("the checkpoint of %d records: %w", old.N, err)
		}
		earlier++
	}
	fmt.Printf("verified %d records, %d pruned, %d inclusion proofs, %d earlier checkpoints\n",
		tree.N, pruned, proofs, earlier)
	return nil
}

// others returns the kept checkpoints and, of an export, those in checkpoints.jsonl.
func others(log source, kept []string) ([][]byte, error) {
	var notes [][]byte
	for _, name := range kept {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		notes = append(notes, raw)
	}
	raw, err := log.read("checkpoints.jsonl")
	if errors.Is(err, fs.ErrNotExist) {
		return notes, nil
	} else if err != nil {
		return nil, err
	}
	for _, line := range bytes.Split(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n")) {
		var text string
		if err := json.Unmarshal(line, &text); err != nil {
			return nil, fmt.Errorf("checkpoints.jsonl: %w", err)
		}
		notes = append(notes, []byte(text))
	}
	return notes, nil
}

// entries compares every record with its authenticated leaf hash, and with entries.jsonl where
// there is one. It returns how many are missing because they were pruned.
func entries(log source, tree tlog.Tree, reader tlog.HashReader) (int64, error) {
	var lines *bufio.Reader
	if raw, err := log.read("entries.jsonl"); err == nil {
		lines = bufio.NewReader(bytes.NewReader(raw))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	pruned := int64(0)
	for first := int64(0); first < tree.N; first += 1 << height {
		width := tree.N - first
		if width > 1<<height {
			width = 1 << height
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		leaves, err := reader.ReadHashes(indexes)
		if err != nil {
			return 0, err
		}
		name := path(tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)})
		bundle, err := log.read(name)
		missing := errors.Is(err, fs.ErrNotExist) && pruned == first && width == 1<<height
		if err != nil && !missing {
			return 0, err
		}
		for i, leaf := range leaves {
			var entry []byte
			if missing {
				pruned++
			} else {
				if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
					return 0, fmt.Errorf("%s ends too early", name)
				}
				end := 2 + int(binary.BigEndian.Uint16(bundle))
				entry, bundle = bundle[2:end], bundle[end:]
				if tlog.RecordHash(entry) != leaf {
					return 0, fmt.Errorf("record %d is not the one in the tree", first+int64(i))
				}
			}
			if lines != nil {
				line, err := lines.ReadBytes('\n')
				if err != nil || !bytes.Equal(bytes.TrimSuffix(line, []byte("\n")), entry) {
					return 0, fmt.Errorf("entries.jsonl has another record %d", first+int64(i))
				}
			}
		}
		if len(bundle) != 0 {
			return 0, fmt.Errorf("%s goes on behind its last record", name)
		}
	}
	if lines != nil {
		if _, err := lines.ReadByte(); err != io.EOF {
			return 0, errors.New("entries.jsonl goes on behind the last record")
		}
	}
	return pruned, nil
}

func inclusion(tree tlog.Tree, reader tlog.HashReader) (int, error) {
	step := tree.N / samples
	if step == 0 {
		step = 1
	}
	done := 0
	for n := int64(0); n < tree.N; n += step {
		if n+step >= tree.N {
			n = tree.N - 1 // the last one is always among them
		}
		proof, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return 0, err
		}
		leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, leaf[0]); err != nil {
			return 0, fmt.Errorf("record %d: %w", n, err)
		}
		done++
	}
	return done, nil
}

func consistent(old, tree tlog.Tree, reader tlog.HashReader) error {
	if old.N > tree.N {
		return fmt.Errorf("the log was cut: it has only %d records", tree.N)
	}
	if old.N == 0 {
		return nil // every log continues the empty one
	}
	proof, err := tlog.ProveTree(tree.N, old.N, reader)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("the log was rewritten: %w", err)
	}
	return nil
}

func hashes(lines []string) ([]tlog.Hash, error) {
	var list []tlog.Hash
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		list = append(list, hash)
	}
	return list, nil
}

func checkProof(raw []byte, vkey string, record []byte) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	header, rest, _ := strings.Cut(string(raw), "\n")
	switch header {
	case "c2sp.org/tlog-proof@v1":
		return checkInclusion(rest, verifier, record)
	case "consentgate-consistency-proof@v1":
		return checkConsistency(rest, verifier)
	}
	return errors.New("no proof of a kind known here")
}

func checkInclusion(rest string, verifier note.Verifier, record []byte) error {
	head, checkpoint, found := strings.Cut(rest, "\n\n")
	lines := strings.Split(head, "\n")
	if strings.HasPrefix(lines[0], "extra ") {
		extra, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(lines[0], "extra "))
		if err != nil {
			return err
		}
		if record != nil && !bytes.Equal(record, extra) {
			return errors.New("it is about another record")
		}
		record, lines = extra, lines[1:]
	}
	if !found || record == nil || len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return errors.New("not a whole tlog-proof, or its record is missing")
	}
	number := strings.TrimPrefix(lines[0], "index ")
	index, err := strconv.ParseInt(number, 10, 64)
	if err != nil || strconv.FormatInt(index, 10) != number {
		return errors.New("not an index")
	}
	path, err := hashes(lines[1:])
	if err != nil {
		return err
	}
	tree, err := open([]byte(checkpoint), verifier)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(record)); err != nil {
		return err
	}
	fmt.Printf("record %d is in the log of %d: %s\n", index, tree.N, record)
	return nil
}

func checkConsistency(rest string, verifier note.Verifier) error {
	parts := strings.Split("\n"+rest, "\n\n")
	if len(parts) != 5 {
		return errors.New("not a consistency proof")
	}
	proof, err := hashes(strings.Split(parts[0], "\n")[1:])
	if parts[0] == "" {
		proof, err = nil, nil
	}
	if err != nil {
		return err
	}
	old, err := open([]byte(parts[1]+"\n\n"+parts[2]+"\n"), verifier)
	if err != nil {
		return err
	}
	tree, err := open([]byte(parts[3]+"\n\n"+parts[4]), verifier)
	if err != nil {
		return err
	}
	if old.N == 0 && len(proof) == 0 {
		fmt.Printf("the log of %d continues the empty one\n", tree.N)
		return nil
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return err
	}
	fmt.Printf("the log of %d continues that of %d\n", tree.N, old.N)
	return nil
}

func sign(skey, text string) error {
	signer, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err == nil {
		_, err = os.Stdout.Write(signed)
	}
	return err
}

func run(args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "verify":
		return verify(source(args[1]), args[2], args[3:])
	case (len(args) == 3 || len(args) == 4) && args[0] == "proof":
		raw, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		var record []byte
		if len(args) == 4 {
			if record, err = os.ReadFile(args[3]); err != nil {
				return err
			}
			record = bytes.TrimSuffix(record, []byte("\n"))
		}
		return checkProof(raw, args[2], record)
	case len(args) == 3 && args[0] == "sign":
		return sign(args[1], args[2])
	}
	return errors.New("usage: auditlog verify LOG VKEY [KEPT...] | proof FILE VKEY [RECORD] | sign SKEY TEXT")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("NOT VERIFIED:", err)
		os.Exit(1)
	}
}
