// Verifies what this project writes with the libraries of others: notes with golang.org/x/mod/sumdb/note, proofs with
// golang.org/x/mod/sumdb/tlog and transparency-dev/merkle, checkpoints, cosignatures and receipts with
// transparency-dev/formats. Reads cases as JSON from standard input, and answers with what is wrong with each ("" if
// nothing is). Whole logs are hashed entry by entry, and each entry is written again (canonical.go).
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	mproof "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type receiptCase struct {
	Entry, Receipt, Key string
	Witnesses           []string
}

type growthCase struct {
	Old, New, Key string
	Path          [][]byte
}

type logCase struct {
	Entries         []string
	Checkpoint, Key string
}

type cases struct {
	Receipts []receiptCase
	Growths  []growthCase
	Logs     []logCase
}

type answers struct {
	Receipts, Growths, Logs []string
}

func openCheckpoint(text, key string, witnesses []string) (*log.Checkpoint, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, err
	}
	var others []note.Verifier
	for _, witness := range witnesses {
		other, err := fnote.NewVerifierForCosignatureV1(witness)
		if err != nil {
			return nil, err
		}
		others = append(others, other)
	}
	checkpoint, _, opened, err := log.ParseCheckpoint([]byte(text), verifier.Name(), verifier, others...)
	if err != nil {
		return nil, err
	}
	if len(opened.Sigs) != 1+len(others) {
		return nil, fmt.Errorf("%d verified signatures", len(opened.Sigs))
	}
	return checkpoint, nil
}

func tlogHash(hash []byte) (result tlog.Hash) {
	copy(result[:], hash)
	return result
}

func verifyReceipt(given receiptCase) error {
	var receipt proof.TLogProof
	if err := receipt.Unmarshal([]byte(given.Receipt)); err != nil {
		return err
	}
	if string(receipt.Marshal()) != given.Receipt {
		return errors.New("the receipt is written differently")
	}
	checkpoint, err := openCheckpoint(string(receipt.Checkpoint), given.Key, given.Witnesses)
	if err != nil {
		return err
	}
	var path [][]byte
	var record tlog.RecordProof
	for _, hash := range receipt.Hashes {
		path = append(path, hash[:])
		record = append(record, tlog.Hash(hash))
	}
	leaf := rfc6962.DefaultHasher.HashLeaf([]byte(given.Entry))
	if err := mproof.VerifyInclusion(
		rfc6962.DefaultHasher, receipt.Index, checkpoint.Size, leaf, path, checkpoint.Hash); err != nil {
		return err
	}
	return tlog.CheckRecord(record, int64(checkpoint.Size), tlogHash(checkpoint.Hash), int64(receipt.Index),
		tlog.RecordHash([]byte(given.Entry)))
}

func verifyGrowth(given growthCase) error {
	before, err := openCheckpoint(given.Old, given.Key, nil)
	if err != nil {
		return err
	}
	after, err := openCheckpoint(given.New, given.Key, nil)
	if err != nil {
		return err
	}
	if err := mproof.VerifyConsistency(
		rfc6962.DefaultHasher, before.Size, after.Size, given.Path, before.Hash, after.Hash); err != nil {
		return err
	}
	var tree tlog.TreeProof
	for _, hash := range given.Path {
		tree = append(tree, tlogHash(hash))
	}
	return tlog.CheckTree(tree, int64(after.Size), tlogHash(after.Hash), int64(before.Size), tlogHash(before.Hash))
}

// hashes are those of the nodes of a tree, in the order in which tlog stores them.
type hashes []tlog.Hash

func (stored hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for number, index := range indexes {
		found[number] = stored[index]
	}
	return found, nil
}

func verifyLog(given logCase) error {
	checkpoint, err := openCheckpoint(given.Checkpoint, given.Key, nil)
	if err != nil {
		return err
	}
	if checkpoint.Size != uint64(len(given.Entries)) {
		return fmt.Errorf("%d entries under a checkpoint of %d", len(given.Entries), checkpoint.Size)
	}
	var stored hashes
	for number, entry := range given.Entries {
		again, err := canonical([]byte(entry))
		if err != nil {
			return fmt.Errorf("entry %d: %w", number, err)
		}
		if string(again) != entry {
			return fmt.Errorf("entry %d is written differently: %s", number, again)
		}
		added, err := tlog.StoredHashes(int64(number), []byte(entry), stored)
		if err != nil {
			return err
		}
		stored = append(stored, added...)
	}
	root, err := tlog.TreeHash(int64(len(given.Entries)), stored)
	if err != nil {
		return err
	}
	if root != tlogHash(checkpoint.Hash) {
		return errors.New("the entries make another root")
	}
	return nil
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func main() {
	var given cases
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		panic(err)
	}
	var answer answers
	for _, receipt := range given.Receipts {
		answer.Receipts = append(answer.Receipts, said(verifyReceipt(receipt)))
	}
	for _, growth := range given.Growths {
		answer.Growths = append(answer.Growths, said(verifyGrowth(growth)))
	}
	for _, whole := range given.Logs {
		answer.Logs = append(answer.Logs, said(verifyLog(whole)))
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		panic(err)
	}
}
