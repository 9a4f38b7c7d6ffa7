module github.com/carverauto/serviceradar-security/tests/go/merge

go 1.24

tool github.com/carverauto/serviceradar-security/tests/go/merge
