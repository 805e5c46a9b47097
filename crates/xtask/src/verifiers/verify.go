// Verifies a mirrored log with golang.org/x/mod's sumdb/note and sumdb/tlog, which know nothing of Pumasi.
//
//	verify MIRROR VKEY [OLD-CHECKPOINT]...
//
// MIRROR holds `checkpoint`, `tile/L/N[.p/W]` and `tile/entries/N[.p/W]` (c2sp.org/tlog-tiles). Every tile and
// every entry is checked against the signed checkpoint, and every old checkpoint against the same tree.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// Tiles in a folder. x/mod writes the height into the path, C2SP does not.
type folder string

func (f folder) Height() int { return height }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		bytes, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, fmt.Errorf("tile: %w", err)
		}
		if len(bytes) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("tile: %s has %d bytes", path, len(bytes))
		}
		all = append(all, bytes)
	}
	return all, nil
}

// The entries of one bundle: each behind its length in two bytes.
func (f folder) bundle(n, width int64) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: 0, N: n, W: int(width)}
	path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", height), "tile/entries/", 1)
	rest, err := os.ReadFile(filepath.Join(string(f), path))
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	var entries [][]byte
	for len(rest) >= 2 && len(rest) >= 2+int(binary.BigEndian.Uint16(rest)) {
		end := 2 + int(binary.BigEndian.Uint16(rest))
		entries, rest = append(entries, rest[2:end]), rest[end:]
	}
	if len(rest) > 0 || int64(len(entries)) != width {
		return nil, fmt.Errorf("entry: %s holds %d entries and %d bytes more, not %d", path, len(entries), len(rest), width)
	}
	return entries, nil
}

func open(path string, key note.Verifier) (tlog.Tree, error) {
	var tree tlog.Tree
	signed, err := os.ReadFile(path)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return tree, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != key.Name() {
		return tree, fmt.Errorf("checkpoint: not one of %s", key.Name())
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, fmt.Errorf("checkpoint: %w", err)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tree, fmt.Errorf("checkpoint: the root is not a hash")
	}
	copy(tree.Hash[:], root)
	return tree, nil
}

func checkEntries(mirror folder, tree tlog.Tree, hashes tlog.HashReader) error {
	for start := int64(0); start < tree.N; start += 1 << height {
		width := min(tree.N-start, 1<<height)
		entries, err := mirror.bundle(start>>height, width)
		if err != nil {
			return err
		}
		var indexes []int64
		for i := range width {
			indexes = append(indexes, tlog.StoredHashIndex(0, start+i))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return fmt.Errorf("tile: %w", err)
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != leaves[i] {
				return fmt.Errorf("entry: number %d is not what the tree holds", start+int64(i))
			}
		}
	}
	return nil
}

func verify(mirror, vkey string, olds []string) error {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	tree, err := open(filepath.Join(mirror, "checkpoint"), key)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, folder(mirror))
	if err := checkEntries(folder(mirror), tree, hashes); err != nil {
		return err
	}
	for _, path := range olds {
		old, err := open(path, key)
		if err != nil {
			return err
		}
		if old.N > tree.N {
			return fmt.Errorf("fork: an older checkpoint has %d entries, this one %d", old.N, tree.N)
		}
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		if err == nil {
			err = tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
		}
		if err != nil {
			return fmt.Errorf("fork: %s does not lead to this tree: %w", filepath.Base(path), err)
		}
	}
	fmt.Printf("ok: %d entries\n", tree.N)
	return nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: verify MIRROR VKEY [OLD-CHECKPOINT]...")
		os.Exit(2)
	}
	if err := verify(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
